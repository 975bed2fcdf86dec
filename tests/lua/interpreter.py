"""
The Lua interpreters that job_submit.lua has to run in: the library that slurmctld loads, and the newest one.
"""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
SLURM_CONF = HERE.parents[1] / "slurm-conf"

#: Reads told, the code and the comment as lines of KEY=VALUE.
REPORT = """
local lines = { "rc=" .. string.format("%d", rc) }
if job and job.admin_comment then lines[#lines + 1] = "admin_comment=" .. job.admin_comment end
for _, level in ipairs { "user", "error", "info" } do
   for _, line in ipairs(told[level]) do lines[#lines + 1] = level .. "=" .. line end
end
return table.concat(lines, "\\n")
"""


def lua51(script: str) -> str:
    """Run a script in liblua5.1, as Debian's slurmctld does, and give what it returns."""
    library = ctypes.CDLL("liblua5.1.so.0")
    library.luaL_newstate.restype = ctypes.c_void_p
    library.lua_tolstring.restype = ctypes.c_char_p
    state = ctypes.c_void_p(library.luaL_newstate())
    try:
        library.luaL_openlibs(state)
        failed = library.luaL_loadstring(state, script.encode()) or library.lua_pcall(state, 0, 1, 0)
        answer = library.lua_tolstring(state, -1, None).decode()
        assert not failed, answer
        return str(answer)
    finally:
        library.lua_close(state)


def lua54(script: str) -> str:
    """Run a script in Lua 5.4 and give what it returns."""
    text = f"io.write((function()\n{script}\nend)())"
    return subprocess.run(["lua5.4", "-"], input=text, capture_output=True, text=True, check=True).stdout


INTERPRETERS = {"5.1": lua51, "5.4": lua54}


def prelude(folder: Path = SLURM_CONF) -> str:
    """Load the fake slurmctld, and let require find the modules of a folder."""
    return f'package.path = "{folder}/?.lua"\ndofile("{HERE}/fake_slurm.lua")\nlocal job, rc\n'


def literal(value: object) -> str:
    """Write a value as Lua has it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {literal(item)}" for key, item in value.items() if item is not None) + "}"
    if isinstance(value, (list, tuple)):
        return "{" + ", ".join(map(literal, value)) + "}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\{byte:03d}" for byte in value.encode()) + '"'
    return str(value)
