"""What callers show in a query, moved into a header before Envoy's filters look for it: its lua filter.

Those would take it out of the query themselves, and leave the rest of it decoded: `%20` a space, `%26` the `&` of one more parameter.
"""

from __future__ import annotations

from collections.abc import Iterable

from tulle.protos import any_, pb
from tulle.translate.values import Fields

LUA = "envoy.filters.http.lua"
_SCRIPT = """\
local headers = {{{headers}}}
local function decoded(text)
  return (text:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end
function envoy_on_request(request)
  local found = request:headers()
  for _, header in pairs(headers) do found:remove(header) end
  local path, query = found:get(":path"):match("^([^?]*)%?(.*)$")
  if not query then return end
  local kept, moved = {{}}, {{}}
  for part in query:gmatch("[^&]+") do
    local name, value = part:match("^([^=]*)=?(.*)$")
    local header = headers[decoded(name)]
    if not header then
      kept[#kept + 1] = part
    elseif not moved[header] then
      moved[header] = true
      found:add(header, (decoded(value):gsub("[^\\33-\\126]", "?")))
    end
  end
  if next(moved) then found:replace(":path", #kept > 0 and path .. "?" .. table.concat(kept, "&") or path) end
end
"""
"""The first of a name counts. What has other than printable characters is no key and no token, and does not become one on the way."""


def header(parameter: str) -> str:
    """Where a parameter is moved to: names of headers have fewer characters."""
    return f"x-tulle-query-{parameter.encode().hex()}"


def moving(parameters: Iterable[str]) -> Fields:
    """The filter. Callers cannot write into these headers themselves."""
    entries = ", ".join(f'["{_quoted(name)}"] = "{header(name)}"' for name in sorted(set(parameters)))
    made = pb.Lua(default_source_code={"inline_string": _SCRIPT.format(headers=entries)})
    return {"name": LUA, "typed_config": any_(made)}


def _quoted(text: str) -> str:
    return "".join(f"\\{byte:03d}" for byte in text.encode())
