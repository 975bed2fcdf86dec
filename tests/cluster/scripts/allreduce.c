/* An MPI program in C, for MPICH, which Debian's mpi4py is not built for: as allreduce.py. */
#include <mpi.h>
#include <stdio.h>

int main (int argc, char **argv)
{
    int rank, size, total, mine;

    MPI_Init (&argc, &argv);
    MPI_Comm_rank (MPI_COMM_WORLD, &rank);
    MPI_Comm_size (MPI_COMM_WORLD, &size);
    mine = rank + 1;
    MPI_Allreduce (&mine, &total, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    if (rank == 0)
        printf ("%d ranks, sum %d\n", size, total);
    return MPI_Finalize ();
}
