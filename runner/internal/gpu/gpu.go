// Package gpu rewrites the variables that number GPUs. Slurm counts the GPUs of a virtual node; the pod has exactly the
// job's GPUs of that node and counts them from 0, in the same order. It is pure.
package gpu

import (
	"slices"
	"strconv"
	"strings"
)

// variables are what Slurm's gres/gpu plugin sets, in a batch step, a step and for each kind of device.
var variables = []string{
	"SLURM_JOB_GPUS", "SLURM_STEP_GPUS",
	"CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ZE_AFFINITY_MASK",
}

// maxIndex bounds a range such as 0-4000000000 in a variable that the user may have set.
const maxIndex = 4096

// Rewrite returns env ("NAME=value" each) with the GPU variables in the pod's own numbers. jobGPUs are the node's
// numbers of the job's GPUs; where empty, SLURM_JOB_GPUS of env is taken, and where that does not know a device (a step
// started from a batch script whose own SLURM_JOB_GPUS was rewritten before), SLURM_STEP_GPUS. A variable that names
// anything else than known numbers (a UUID, NoDevFiles, a MIG instance) stays as it is.
func Rewrite(env []string, jobGPUs []uint32) []string {
	known := devices(env, jobGPUs)
	if len(known) == 0 {
		return env
	}
	out := slices.Clone(env)
	for i, entry := range out {
		name, value, _ := strings.Cut(entry, "=")
		if !slices.Contains(variables, name) {
			continue
		}
		if renumbered, ok := renumber(value, known); ok {
			out[i] = name + "=" + renumbered
		}
	}
	return out
}

// devices is the ascending list of the job's GPUs on this node, in the node's numbers.
func devices(env []string, jobGPUs []uint32) []uint32 {
	known := slices.Clone(jobGPUs)
	if len(known) == 0 {
		known = lookup(env, "SLURM_JOB_GPUS")
		step := lookup(env, "SLURM_STEP_GPUS")
		for _, device := range step {
			if !slices.Contains(known, device) {
				known = step
				break
			}
		}
	}
	slices.Sort(known)
	return slices.Compact(known)
}

func lookup(env []string, name string) []uint32 {
	for _, entry := range env {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			list, _ := parse(value)
			return list
		}
	}
	return nil
}

// renumber keeps the order of the list: the first device of CUDA_VISIBLE_DEVICES is device 0 of the program.
func renumber(value string, known []uint32) (string, bool) {
	list, ok := parse(value)
	if !ok {
		return "", false
	}
	words := make([]string, len(list))
	for i, device := range list {
		rank, found := slices.BinarySearch(known, device)
		if !found {
			return "", false
		}
		words[i] = strconv.Itoa(rank)
	}
	return strings.Join(words, ","), true
}

// parse reads "0-1,3".
func parse(value string) ([]uint32, bool) {
	if value == "" {
		return nil, false
	}
	var list []uint32
	for word := range strings.SplitSeq(value, ",") {
		first, last, isRange := strings.Cut(word, "-")
		from, err := strconv.ParseUint(first, 10, 32)
		to := from
		if err == nil && isRange {
			to, err = strconv.ParseUint(last, 10, 32)
		}
		if err != nil || to < from || to > maxIndex || len(list) > maxIndex {
			return nil, false
		}
		for device := from; device <= to; device++ {
			list = append(list, uint32(device))
		}
	}
	return list, true
}
