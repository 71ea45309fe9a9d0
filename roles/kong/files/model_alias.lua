-- Phase access, after the key and the limits: the body of somebody who may not ask is not read.
-- A request that names no model gets the alias of its route: a model every AI node has.
-- Given above: ALIAS (string), MAX_BYTES (number).

local function refuse(status, message)
  return kong.response.exit(status, { error = message })
end

if kong.request.get_method() == "POST" then
  local json = require "cjson.safe"

  local body = kong.request.get_raw_body(MAX_BYTES)
  if not body then
    return refuse(413, "The request body is larger than " .. MAX_BYTES .. " bytes.")
  end

  -- An empty array and an empty object are the same Lua table: only the text tells them apart.
  local request = body:match("^%s*{") and json.decode(body)
  if not request then
    return refuse(400, "The request body must be one JSON object, such as "
      .. '{"messages": [{"role": "user", "content": "Hello"}]}.')
  end

  local model = request.model
  if model == nil or model == json.null or model == "" then
    -- Text is appended, because encoding the table anew would turn [] into {} and round big numbers.
    -- Of two keys with one name the last counts, so an empty model is overruled.
    local separator = next(request) ~= nil and "," or ""
    local members = body:match("^(.*)}%s*$")
    kong.service.request.set_raw_body(members .. separator .. '"model":"' .. ALIAS .. '"}')

  elseif type(model) ~= "string" then
    return refuse(400, 'The field "model" must be a string; leave it out to use "' .. ALIAS .. '".')
  end
end

-- Ollama refuses browsers of origins it does not know; who may call is decided here, by the key.
kong.service.request.clear_header("Origin")
