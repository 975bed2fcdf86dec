-- The burst marker and the burst partition's door, for job_submit.lua.
--
--     local burst = require "k8s_burst"
--     burst.setup { partition = "k8s-burst" }                            -- optional, once, when the script is loaded
--     local rc = burst.job_submit(job_desc, part_list, submit_uid)       -- in slurm_job_submit
--     local rc = burst.job_modify(job_desc, job_rec, part_list, uid)     -- in slurm_job_modify
--
-- job_submit finds --k8s-burst in the job's SPANK environment (spank_job_env, which srun, salloc and --export=NONE keep)
-- or else in the batch environment, and writes `k8s-burst=MODE[ image=IMAGE][ max-cost=AMOUNT] nodes=MIN-MAX` in front of
-- admin_comment, which ordinary users can't write. The environment is the user's to write, so every value is checked again here.
-- A batch job's --signal is added as ` signal=SIGNAL`: slurmctld tells nobody of it, and a pod that Kubernetes takes away
-- warns its job with it.
-- Of the node count the job's record tells less: whether slurmctld may choose it is not there until it has tried.
--
-- Both return slurm.SUCCESS, or another code after telling the user why. An error in here passes the job on unmarked,
-- with a line in slurmctld's log: it never fails a submission. slurmctld links Lua 5.1 to 5.4; this runs in all.

local burst = {}

local MARKER = "k8s-burst="
local MODE_OPTION = "_SLURM_SPANK_OPTION_k8s_burst_k8s_burst"
local IMAGE_OPTION = MODE_OPTION .. "_image"
local COST_OPTION = MODE_OPTION .. "_max_cost"
local SIGNAL_VARIABLE = "K8S_BURST_SIGNAL"
local IMAGE_MAX = 255
local SHOWN_MAX = 64
local NO_VAL = 4294967294
local NO_VAL16 = 65534
local MODES = { auto = true, now = true, never = true }

-- What a job's pods are made by and what rules and caps look at, as scontrol changes it: what each is where it is not given;
-- strings and amounts of memory are nil then.
local AGREED = {
   account = false, qos = false, tres_per_job = false, tres_per_node = false, tres_per_socket = false, tres_per_task = false,
   cpus_per_tres = false, mem_per_tres = false, min_mem_per_node = false, min_mem_per_cpu = false,
   min_nodes = NO_VAL, max_nodes = NO_VAL, min_cpus = NO_VAL, max_cpus = NO_VAL, num_tasks = NO_VAL,
   cpus_per_task = NO_VAL16, pn_min_cpus = NO_VAL16, ntasks_per_node = NO_VAL16, threads_per_core = NO_VAL16,
   shared = NO_VAL16,
}

-- What burst.setup takes: the type of each, and its default.
local SETTINGS = {
   -- Partition of the virtual nodes.
   partition = { "string", "k8s-burst" },
   -- Mode of jobs that don't say: "auto", "now" or "never". nil: such jobs are none of ours.
   default_mode = { "string", nil },
   -- Partitions whose jobs the default applies to. nil: all.
   partitions = { "table", nil },
   -- Whether users may submit to the burst partition, and move their jobs into it, by themselves.
   allow_direct = { "boolean", false },
   -- Whether to note the --signal of jobs that are not marked, as `k8s-burst-signal=SIGNAL` in admin_comment: for sites
   -- where rules of the agent flag jobs later.
   keep_signal = { "boolean", false },
   -- User ids that may do what only operators may: root, SlurmUser, the agent's.
   operators = { "table", { 0 } },
}

local settings = {}
for name, setting in pairs(SETTINGS) do
   settings[name] = setting[2]
end

-- Takes the site's settings. One that is unknown or of the wrong type is logged and stays at its default.
function burst.setup(given)
   for name, value in pairs(given) do
      local setting = SETTINGS[name]
      if not setting then
         slurm.log_error("k8s-burst: setup: unknown setting %s", tostring(name))
      elseif type(value) ~= setting[1] then
         slurm.log_error("k8s-burst: setup: %s must be a %s", name, setting[1])
      elseif name == "default_mode" and not MODES[value] then
         slurm.log_error("k8s-burst: setup: default_mode=%s must be auto, now or never", value)
      else
         settings[name] = value
      end
   end
end

local function contains(list, wanted)
   for _, value in pairs(list) do
      if value == wanted then
         return true
      end
   end
   return false
end

-- Splits Slurm's comma lists.
local function split(names)
   local list = {}
   for name in string.gmatch(names or "", "[^,]+") do
      list[#list + 1] = name
   end
   return list
end

local function is_operator(uid)
   return uid == 0 or contains(settings.operators, uid)
end

local function starts_with(text, prefix)
   return string.sub(text, 1, #prefix) == prefix
end

-- Refuses: tells the user why, and gives the code to return.
local function refuse(code, sentence, ...)
   slurm.log_user("k8s-burst: " .. sentence, ...)
   return code or slurm.ERROR
end

-- The value of an option as it came with the job; nil: not given.
local function option(job_desc, name)
   for _, word in pairs(job_desc.spank_job_env or {}) do
      if starts_with(word, name .. "=") then
         return string.sub(word, #name + 2)
      end
   end
   -- Only batch jobs bring their environment; slurmctld logs a line when the others are asked for it.
   if job_desc.script and job_desc.environment then
      return job_desc.environment[name]
   end
   return nil
end

-- Whether a value is one that --signal takes, as far as the marker needs it: [{R|B}:]SIGNAL[@SECONDS].
local function is_signal(value)
   local bare = string.gsub(value, "^[RBrb]+:", "")
   return #value <= SHOWN_MAX and string.match(bare, "^%w+@?%d*$") ~= nil
end

-- The value of --signal of a batch job; nil: none. The script's own comes first, then SBATCH_SIGNAL and the command line
-- in the order in which they win: the plugin gives each word's place, counted from the end, and argc says how many words
-- there are the script and its arguments.
local function signal_of(job_desc)
   local found = nil
   for line in string.gmatch(job_desc.script or "", "[^\n]+") do
      if string.match(line, "^#SBATCH") then
         found = string.match(line, "%s%-%-signal[=%s]%s*[\"']?([%w:@]+)") or found
      elseif not string.match(line, "^#") then
         break
      end
   end
   if job_desc.script then
      for _, word in pairs(job_desc.spank_job_env or {}) do
         if starts_with(word, SIGNAL_VARIABLE .. "=") then
            for place, value in string.gmatch(string.sub(word, #SIGNAL_VARIABLE + 2), "(%d+)=([^,]+)") do
               if tonumber(place) >= (tonumber(job_desc.argc) or 0) then
                  found = value
               end
            end
         end
      end
   end
   return found and is_signal(found) and found or nil
end

-- The mode for what Slurm passes on: a bare --k8s-burst travels as "" or "(null)". nil: not a mode.
local function mode_of(value)
   if value == "" or value == "(null)" then
      return "auto"
   end
   return MODES[value] and value or nil
end

-- One part of an image's path: small letters and digits, and between them ".", "_", "__" or dashes.
local function is_component(text)
   if not string.match(text, "^[a-z0-9][a-z0-9._-]*$") or not string.match(text, "[a-z0-9]$") then
      return false
   end
   for between in string.gmatch(text, "[._-]+") do
      if between ~= "." and between ~= "_" and between ~= "__" and not string.match(between, "^%-+$") then
         return false
      end
   end
   return true
end

local function is_path(text)
   for component in string.gmatch(text .. "/", "([^/]*)/") do
      if not is_component(component) then
         return false
      end
   end
   return true
end

-- A registry's host, with or without port.
local function is_host(text)
   local host, port = string.match(text, "^([^:]*):?(%d*)$")
   return host ~= nil and #port <= 5 and (port ~= "" or host == text)
      and string.match(host, "^[A-Za-z0-9][A-Za-z0-9.-]*$") ~= nil
end

-- Whether a value names an image in a registry: [docker://][REGISTRY#]IMAGE[:TAG][@sha256:DIGEST]. The agent and the
-- SPANK plugin have the same rule.
local function is_image(value)
   if #value > IMAGE_MAX or string.match(value, "%.sqsh$") then
      return false
   end
   local image = string.gsub(value, "^docker://", "")
   local registry, behind = string.match(image, "^(.*)#([^#]*)$")
   if registry then
      if not is_host(registry) or string.match(registry, "^[^:]*[.-]:") or string.match(registry, "[.-]$") then
         return false
      end
      image = behind
   end
   local name, digest = string.match(image, "^(.*)@sha256:([0-9a-f]+)$")
   if name then
      if #digest ~= 64 then
         return false
      end
      image = name
   end
   local tagged, tag = string.match(image, "^(.*):([A-Za-z0-9_][A-Za-z0-9_.-]*)$")
   if tagged then
      if #tag > 128 then
         return false
      end
      image = tagged
   end
   if is_path(image) then
      return true
   end
   local host, path = string.match(image, "^([^/]+)/(.+)$")
   return host ~= nil and is_host(host) and is_path(path)
end

local function is_amount(value)
   local whole, fraction = string.match(value, "^(%d+)%.?(%d*)$")
   return whole ~= nil and #whole <= 9 and #fraction <= 9 and string.sub(value, -1) ~= "."
end

-- Whether the site's default applies to a job in these partitions.
local function default_applies(job_desc, part_list)
   if not settings.default_mode then
      return false
   end
   if not settings.partitions then
      return true
   end
   local names = split(job_desc.partition)
   if #names == 0 then
      for name, partition in pairs(part_list) do
         if partition.flag_default == 1 then
            names[#names + 1] = name
         end
      end
   end
   for _, name in ipairs(names) do
      if contains(settings.partitions, name) then
         return true
      end
   end
   return false
end

-- The word for the node count, lowest and highest, 0: no limit.
local function nodes_of(job_desc)
   local function given(count)
      return type(count) == "number" and count < NO_VAL and count or nil
   end
   return string.format("nodes=%d-%d", given(job_desc.min_nodes) or 1, given(job_desc.max_nodes) or 0)
end

-- Writes the marker in front of what an operator or the site's own rules have put into admin_comment.
local function mark(job_desc, mode, image, cost)
   local text = MARKER .. mode
   if image and mode ~= "never" then
      text = text .. " image=" .. image
   end
   if cost and mode ~= "never" then
      text = text .. " max-cost=" .. cost
   end
   local signal = mode ~= "never" and signal_of(job_desc)
   if signal then
      text = text .. " signal=" .. signal
   end
   if mode ~= "never" then
      text = text .. " " .. nodes_of(job_desc)
   end
   local present = job_desc.admin_comment
   if present and present ~= "" and not starts_with(present, MARKER) then
      text = text .. " " .. string.gsub(present, "%s+", " ")
   end
   job_desc.admin_comment = text
end

-- Whether a job that asks for a burst, or would by default, can't be one; with the sentence for the user.
local function impossible(job_desc)
   if job_desc.user_id == 0 then
      return "root's jobs don't run in Kubernetes"
   end
   if job_desc.container and job_desc.container ~= "" then
      return "--container can't be used in Kubernetes; use --k8s-burst-image"
   end
   return nil
end

local function submit(job_desc, part_list, submit_uid)
   local operator = is_operator(submit_uid)
   if not operator and not settings.allow_direct and contains(split(job_desc.partition), settings.partition) then
      return refuse(slurm.ESLURM_ACCESS_DENIED,
         "partition %s is not for direct submission; submit to your own partition with --k8s-burst",
         settings.partition)
   end
   if not operator and starts_with(job_desc.admin_comment or "", MARKER) then
      job_desc.admin_comment = ""
   end

   local given = option(job_desc, MODE_OPTION)
   local image = option(job_desc, IMAGE_OPTION)
   if image and not is_image(image) then
      return refuse(slurm.ESLURM_NOT_SUPPORTED,
         "--k8s-burst-image=%s is no image in a registry; use [REGISTRY#]IMAGE[:TAG], without USER@",
         string.sub(image, 1, SHOWN_MAX))
   end
   local cost = option(job_desc, COST_OPTION)
   if cost and not is_amount(cost) then
      return refuse(slurm.ESLURM_NOT_SUPPORTED, "--k8s-burst-max-cost=%s is no amount of money; use digits, as in 2.50",
         string.sub(cost, 1, SHOWN_MAX))
   end
   if given then
      local mode = mode_of(given)
      if not mode then
         return refuse(slurm.ESLURM_NOT_SUPPORTED, "--k8s-burst=%s is not known; use auto, now or never",
            string.sub(given, 1, SHOWN_MAX))
      end
      local why = mode ~= "never" and impossible(job_desc)
      if why then
         return refuse(slurm.ESLURM_NOT_SUPPORTED, "%s", why)
      end
      mark(job_desc, mode, image, cost)
   elseif default_applies(job_desc, part_list) and not impossible(job_desc) then
      mark(job_desc, settings.default_mode, image, cost)
   elseif image then
      slurm.log_user("k8s-burst: --k8s-burst-image has no effect without --k8s-burst")
   elseif cost then
      slurm.log_user("k8s-burst: --k8s-burst-max-cost has no effect without --k8s-burst")
   end
   local signal = settings.keep_signal and not starts_with(job_desc.admin_comment or "", MARKER) and signal_of(job_desc)
   if signal then
      local present = job_desc.admin_comment or ""
      job_desc.admin_comment = present .. (present ~= "" and " " or "") .. "k8s-burst-signal=" .. signal
   end
   return slurm.SUCCESS
end

-- Whether a change asks for something else than policy agreed to when the job got its pods. Less time is no harm.
local function is_other(job_desc, job_rec)
   for name, absent in pairs(AGREED) do
      local wanted = job_desc[name]
      if wanted ~= nil and wanted ~= absent then
         return true
      end
   end
   local limit, present = job_desc.time_limit, job_rec.time_limit
   return type(limit) == "number" and type(present) == "number" and limit ~= NO_VAL and limit > present
end

-- A user may take a job out of the burst partition; what it runs on within is agreed on, as its pods are made for that.
local function modify(job_desc, job_rec, modify_uid)
   if is_operator(modify_uid) then
      return slurm.SUCCESS
   end
   if settings.allow_direct then
      return slurm.SUCCESS
   end
   if contains(split(job_desc.partition), settings.partition) then
      return refuse(slurm.ESLURM_ACCESS_DENIED, "jobs can't be moved to partition %s by hand; submit with --k8s-burst=now",
         settings.partition)
   end
   local stays = not job_desc.partition and contains(split(job_rec.partition), settings.partition)
   if stays and (job_desc.req_nodes or job_desc.exc_nodes) then
      return refuse(slurm.ESLURM_ACCESS_DENIED, "the nodes of a job in partition %s can't be changed by hand",
         settings.partition)
   end
   if stays and is_other(job_desc, job_rec) then
      return refuse(slurm.ESLURM_ACCESS_DENIED,
         "what a job in partition %s asks for can't be changed by hand; move it back to its own partition with the change",
         settings.partition)
   end
   return slurm.SUCCESS
end

-- Calls a rule; its error is ours alone, and the job passes.
local function guarded(rule, ...)
   local ok, code = pcall(rule, ...)
   if ok then
      return code
   end
   slurm.log_error("k8s-burst: job_submit.lua: %s; the job passes unmarked", tostring(code))
   return slurm.SUCCESS
end

function burst.job_submit(job_desc, part_list, submit_uid)
   return guarded(submit, job_desc, part_list, submit_uid)
end

function burst.job_modify(job_desc, job_rec, _, modify_uid)
   return guarded(modify, job_desc, job_rec, modify_uid)
end

return burst
