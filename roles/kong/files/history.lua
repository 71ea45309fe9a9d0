-- Phase access of /api/v1/history, after the key and the limits: asks a function of the database, for the user whose key this is.
-- Given above: TOKEN, which makes the gateway a role of the database.

local shared = kong.ctx.shared
local path, delete = kong.request.get_path(), kong.request.get_method() == "DELETE"
local four = "%x%x%x%x"
local id = path:match("^/api/v1/history/(" .. four .. four .. ("%-" .. four):rep(4) .. four .. four .. ")$")
if not id and (delete or path ~= "/api/v1/history") then
  shared.code = "not_found"
  return kong.response.exit(404, { message = "There is no conversation of that name; GET /api/v1/history lists them." })
end

-- What PostgREST would obey.
for _, header in ipairs({ "Accept-Profile", "Content-Profile", "Prefer", "Range" }) do
  kong.service.request.clear_header(header)
end
kong.service.request.set_method("POST")
kong.service.request.set_path("/rpc/history" .. (delete and "_delete" or id and "_one" or ""))
kong.service.request.set_raw_query("")
kong.service.request.set_raw_body(id and '{"id":"' .. id .. '"}' or "{}")
kong.service.request.set_header("Accept", "application/json")
kong.service.request.set_header("Content-Type", "application/json")
kong.service.request.set_header("Authorization", "Bearer " .. TOKEN)
kong.service.request.set_header("X-Consumer-Username", kong.client.get_consumer().username)
shared.history = true
