-- job_submit.lua of a site that has none yet, for slurm.conf's JobSubmitPlugins=lua. A site that has one adds the lines
-- with `burst` to it and keeps its own rules.
--
-- k8s_burst.lua lies beside this file. slurmctld reads both again when this file's time stamp changes: touch it after a
-- change to the other.

package.path = (string.match(debug.getinfo(1, "S").source, "^@(.*/)") or "/etc/slurm/") .. "?.lua;" .. package.path

-- A missing or broken module must not keep slurmctld from taking jobs.
local loaded, burst = pcall(require, "k8s_burst")
if not loaded then
   slurm.log_error("k8s-burst: jobs are not marked and don't burst: %s", tostring(burst))
   local function pass()
      return slurm.SUCCESS
   end
   burst = { setup = pass, job_submit = pass, job_modify = pass }
end

burst.setup {
   partition = "k8s-burst",
   -- default_mode = "auto", partitions = { "gpu" },  -- to let all jobs of these partitions burst that don't say never
   -- allow_direct = true,                            -- to let users submit to the burst partition by themselves
   -- keep_signal = true,                             -- where [[policy.rules]] of agent.toml flag jobs
   -- operators = { 0, 64030 },                       -- user ids of root, of SlurmUser, and of the agent
}

function slurm_job_submit(job_desc, part_list, submit_uid)
   return burst.job_submit(job_desc, part_list, submit_uid)
end

function slurm_job_modify(job_desc, job_rec, part_list, modify_uid)
   return burst.job_modify(job_desc, job_rec, part_list, modify_uid)
end

return slurm.SUCCESS
