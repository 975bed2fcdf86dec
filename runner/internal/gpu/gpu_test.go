package gpu

import (
	"slices"
	"testing"
)

func TestRewrite(t *testing.T) {
	for _, c := range []struct {
		name string
		env  []string
		job  []uint32
		want []string
	}{
		{"no GPUs", []string{"A=1"}, nil, []string{"A=1"}},
		{"batch step", []string{"SLURM_JOB_GPUS=2,3", "CUDA_VISIBLE_DEVICES=2,3", "A=2"}, nil,
			[]string{"SLURM_JOB_GPUS=0,1", "CUDA_VISIBLE_DEVICES=0,1", "A=2"}},
		{"ranges", []string{"SLURM_JOB_GPUS=0-1,3", "ROCR_VISIBLE_DEVICES=1,3", "GPU_DEVICE_ORDINAL=3"}, nil,
			[]string{"SLURM_JOB_GPUS=0,1,2", "ROCR_VISIBLE_DEVICES=1,2", "GPU_DEVICE_ORDINAL=2"}},
		{"order kept", []string{"SLURM_JOB_GPUS=4,5", "CUDA_VISIBLE_DEVICES=5,4"}, nil,
			[]string{"SLURM_JOB_GPUS=0,1", "CUDA_VISIBLE_DEVICES=1,0"}},
		{"gatewayd knows better than a rewritten variable",
			[]string{"SLURM_JOB_GPUS=0,1", "SLURM_STEP_GPUS=5", "CUDA_VISIBLE_DEVICES=5"}, []uint32{5, 4},
			[]string{"SLURM_JOB_GPUS=0,1", "SLURM_STEP_GPUS=1", "CUDA_VISIBLE_DEVICES=1"}},
		{"a step on its own", []string{"SLURM_JOB_GPUS=0,1", "SLURM_STEP_GPUS=6,7", "CUDA_VISIBLE_DEVICES=7"}, nil,
			[]string{"SLURM_JOB_GPUS=0,1", "SLURM_STEP_GPUS=0,1", "CUDA_VISIBLE_DEVICES=1"}},
		{"names that are no numbers stay", []string{"SLURM_JOB_GPUS=3", "CUDA_VISIBLE_DEVICES=GPU-8a56"}, nil,
			[]string{"SLURM_JOB_GPUS=0", "CUDA_VISIBLE_DEVICES=GPU-8a56"}},
		{"NoDevFiles", []string{"SLURM_JOB_GPUS=3", "CUDA_VISIBLE_DEVICES=NoDevFiles"}, nil,
			[]string{"SLURM_JOB_GPUS=0", "CUDA_VISIBLE_DEVICES=NoDevFiles"}},
		{"empty hides all", []string{"SLURM_JOB_GPUS=3", "CUDA_VISIBLE_DEVICES="}, nil,
			[]string{"SLURM_JOB_GPUS=0", "CUDA_VISIBLE_DEVICES="}},
		{"a device that is not the job's", []string{"SLURM_JOB_GPUS=3", "CUDA_VISIBLE_DEVICES=1"}, nil,
			[]string{"SLURM_JOB_GPUS=0", "CUDA_VISIBLE_DEVICES=1"}},
		{"no endless range", []string{"SLURM_JOB_GPUS=3", "CUDA_VISIBLE_DEVICES=0-4294967295"}, nil,
			[]string{"SLURM_JOB_GPUS=0", "CUDA_VISIBLE_DEVICES=0-4294967295"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := slices.Clone(c.env)
			if got := Rewrite(c.env, c.job); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if !slices.Equal(c.env, before) {
				t.Errorf("the argument was changed to %q", c.env)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add("0-1,3")
	f.Add("7")
	f.Add("3-1")
	f.Fuzz(func(t *testing.T, value string) {
		list, ok := parse(value)
		if ok && len(list) == 0 {
			t.Fatalf("%q: an empty list was taken for a good one", value)
		}
		if again, _ := parse(value); !slices.Equal(list, again) {
			t.Fatalf("%q: two answers", value)
		}
	})
}
