-- Phases header_filter and body_filter, of every request: the gateway's own errors, as JSON in the form of the API that
-- was asked. Kong's own form depends on what a client accepts, that of PostgREST is its own, and a node says in plain text
-- that it has no such page.
-- Given before: shared.phase.

local shared, status = kong.ctx.shared, kong.response.get_status()
if shared.phase == "header_filter" then
  local plain = (kong.response.get_header("Content-Type") or ""):find("^text/plain")
  local reworded = shared.history and status >= 500 or plain and (status == 404 or status == 405)
  shared.refused = status >= 400 and (kong.response.get_source() ~= "service" or reworded)
end
if not shared.refused then
  return
end

if shared.phase == "header_filter" then
  kong.response.clear_header("Content-Length")
  kong.response.set_header("Content-Type", "application/json; charset=utf-8")
  return
end

-- nil until the last part is here.
local body = kong.response.get_raw_body()
if body then
  local json = require "cjson.safe"
  local path, said = kong.request.get_path(), json.decode(body)
  local message = type(said) == "table" and said.message
    or status == 429 and "API rate limit exceeded" or "The gateway has no answer (" .. status .. ")."
  if status == 401 and not shared.code then
    message = "A valid key is missing; send it as `apikey: KEY` or as `Authorization: Bearer KEY`."
  elseif (status == 404 or status == 405) and not shared.code then
    message = "There is no " .. kong.request.get_method() .. " " .. path:gsub("[^%w%p ]", "?")
      .. " here; the portal shows examples."
  elseif shared.history and status >= 500 then
    message = "The database with the conversations does not answer. Chat goes on, and is stored when it is back."
  elseif status > 500 then
    message = shared.message or shared.asleep or message
  end
  if path:sub(1, 4) == "/v1/" then
    local codes = {
      [401] = "invalid_api_key", [404] = "not_found", [405] = "not_found", [413] = "too_large",
      [429] = "rate_limit_exceeded",
    }
    message = {
      message = message,
      type = status < 500 and "invalid_request_error" or "server_error",
      code = shared.code or codes[status] or status < 500 and "invalid_request" or "unavailable",
    }
  end
  kong.response.set_raw_body(json.encode({ error = message }))
end
