#!/bin/sh
# Makes MariaDB's data directory with the cluster, its accounts and its users in it, in a root file system of its own named ctl.
#
#   ADDRESS, DBD_PORT    of slurmdbd
#   MARIADBD             the command line of mariadbd
#   CLUSTER, ACCOUNTS    the cluster's name, its accounts
#   USERS                words USER:ACCOUNT
set -eu

ip link set lo up
# slurmdbd does not listen on a host that has loopback addresses only.
ip address add "$ADDRESS/32" dev lo
install -d -o mysql -g mysql /run/mysqld
install -d -o mysql -g mysql -m 0700 /var/lib/mysql
install -d -o munge -g munge /run/munge
install -d -o munge -g munge -m 0700 /var/lib/munge /var/log/munge
install -d -o slurm -g slurm /run/slurm

# wait_for PID COMMAND...: until COMMAND succeeds; fails when the daemon PID ends first
wait_for() {
    daemon=$1; shift
    for _ in $(seq 600); do
        "$@" > /dev/null 2>&1 && return
        kill -0 "$daemon" || break
        sleep 0.1
    done
    echo "no success with: $*"; tail -n 20 /run/*.log; exit 1
}
slurmdbd_listens() { ss -Hltn "sport = $DBD_PORT" | grep -q .; }

mariadb-install-db --user=mysql --auth-root-authentication-method=socket --skip-test-db \
    --innodb-log-file-size=8M > /run/install.log 2>&1
$MARIADBD > /run/mariadbd.log 2>&1 & mariadbd_pid=$!
setpriv --reuid munge --regid munge --init-groups munged --foreground > /run/munged.log 2>&1 & munged_pid=$!
wait_for $mariadbd_pid mariadb -e 'select 1'
mariadb -e 'create database slurm_acct_db'
mariadb -e 'create user slurm@localhost identified via unix_socket'
mariadb -e 'grant all on slurm_acct_db.* to slurm@localhost'
wait_for $munged_pid munge -n
slurmdbd -D > /run/slurmdbd.log 2>&1 & slurmdbd_pid=$!
wait_for $slurmdbd_pid slurmdbd_listens
sacctmgr --immediate add cluster "$CLUSTER"
for account in $ACCOUNTS; do
    sacctmgr --immediate add account "$account" cluster="$CLUSTER" description="$account" organization="$account"
done
for user_account in $USERS; do
    sacctmgr --immediate add user "${user_account%:*}" account="${user_account#*:}" cluster="$CLUSTER"
done
kill $slurmdbd_pid; wait $slurmdbd_pid || true
kill $mariadbd_pid; wait $mariadbd_pid
