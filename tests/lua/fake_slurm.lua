-- What slurmctld's Lua plugin gives to job_submit.lua, as far as it behaves in a way of its own: the log functions that
-- format their words, records behind metatables, spank_job_env counted from 0, an environment for batch jobs only.
--
-- Defines the globals slurm, job_desc, job_rec and told; the last collects what the script did.

local unpack = table.unpack or unpack

told = { user = {}, error = {}, info = {} }

local function logger(list)
   return function(...)
      list[#list + 1] = string.format(unpack({ ... }))
   end
end

slurm = {
   SUCCESS = 0,
   ERROR = -1,
   ESLURM_ACCESS_DENIED = 2002,
   ESLURM_NOT_SUPPORTED = 2073,
   log_user = logger(told.user),
   log_error = logger(told.error),
   log_info = logger(told.info),
}

local WRITABLE = { admin_comment = true }

-- A job_desc_msg_t with these fields. environment and spank_job_env are lists of NAME=VALUE.
function job_desc(fields)
   local function environment()
      return setmetatable({}, {
         __index = function(_, name)
            if not fields.script then
               slurm.log_info("job_desc->environment only accessible for batch jobs.")
               return nil
            end
            for _, word in ipairs(fields.environment or {}) do
               if string.sub(word, 1, #name + 1) == name .. "=" then
                  return string.sub(word, #name + 2)
               end
            end
            return nil
         end,
      })
   end
   local function spank_job_env()
      local list = nil
      for index, word in ipairs(fields.spank_job_env or {}) do
         list = list or {}
         list[index - 1] = word
      end
      return list
   end
   return setmetatable({}, {
      __index = function(_, name)
         if name == "environment" then
            return environment()
         elseif name == "spank_job_env" then
            return spank_job_env()
         end
         return fields[name]
      end,
      __newindex = function(_, name, value)
         assert(WRITABLE[name], name .. " must not be written")
         assert(type(value) == "string", name .. " takes a string")
         fields[name] = value ~= "" and value or nil
      end,
   })
end

-- A job_record_t: read only.
function job_rec(fields)
   return setmetatable({}, {
      __index = fields,
      __newindex = function(_, name)
         error(name .. " can't be written")
      end,
   })
end
