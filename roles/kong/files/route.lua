-- Phase access, after the key and the limits: the body of somebody who may not ask is not read.
-- Of a request only what says which nodes can answer it is read; it goes on as it was sent. Where the gateway has to
-- say something of its own, text is appended: of two keys with one name the last counts, and encoding the table anew
-- would turn [] into {} and round big numbers.
-- Given before: shared.alias (name of a request without one), shared.models and shared.stored (of user.lua). Given above:
-- MAX_BYTES, CONNECT_MS, WRITE_MS, FIRST_BYTE_MS, and the table that aicluster/gateway/routing.py writes: NAMES, SHOWN,
-- OFFERS, UPSTREAMS, SUBSTITUTES, EMBEDDER, OPENAI, TAGS.

local json = require "cjson.safe"
local shared = kong.ctx.shared
local path, method = kong.request.get_path(), kong.request.get_method()
local openai, embeds = path:sub(1, 4) == "/v1/", path:match("/embed")
-- What nginx adds when it asks again: for which model, and which node has failed.
local again, failed = kong.request.get_header("X-AI-Again"), kong.request.get_header("X-AI-Failed")

-- Ollama refuses browsers of origins it does not know; who may call is decided here, by the key.
for _, header in ipairs({ "Origin", "X-AI-Again", "X-AI-Failed" }) do
  kong.service.request.clear_header(header)
end

local function refuse(status, message, code)
  shared.code = code
  return kong.response.exit(status, { message = message })
end

local function normalise(name)
  -- No model's name is that long, and of a longer one these patterns take the square in time: all others would wait.
  if #name > 700 then
    return name
  end
  local short = name:match("^%s*(.-)%s*$"):lower():gsub("^registry%.ollama%.ai/", ""):gsub("^library/", "")
  return short:match(":[^/]*$") and short or short .. ":latest"
end

local function allowed(name)
  return not shared.models or shared.models[name]
end

-- Returns what a table says of the names that this user may use, and of which a test holds.
local function listed(texts, separator, holds)
  local found = {}
  for _, name in ipairs(NAMES) do
    found[#found + 1] = allowed(name) and (not holds or holds(name)) and texts[name] or nil
  end
  return table.concat(found, separator)
end

-- Returns these names as they are declared.
local function names(holds)
  local found = listed(SHOWN, ", ", holds)
  return found ~= "" and found or "none"
end

local function unknown(asked)
  local name = asked:sub(1, 100):gsub("[^%w%p ]", "?")
  return refuse(404, 'No node has the model "' .. name .. '". There are: ' .. names() .. ".", "model_not_found")
end

local function forbidden(what)
  return refuse(403, what .. " is not among the models you may use: " .. names() .. ".", "model_not_allowed")
end

-- Returns the request as a table, nil if it is no JSON object that can be read here, and its text up to its end: what is
-- behind that Ollama ignores.
local function decoded(body)
  body = body:match("^[^%z]*")
  -- An empty array and an empty object are the same Lua table: only the text tells them apart.
  if not body:match("^%s*{") then
    return nil
  end
  -- Half an emoji, which clients cut, is none for cjson; Ollama takes it. Of text only the length counts here.
  local request, problem, text = json.decode(body), nil, nil
  if not request then
    text = body:gsub("\\(.)(%x?%x?%x?%x?)", function(letter, digits)
      return letter == "u" and digits:match("^[dD][89a-fA-F]%x%x") and "??????" or nil
    end)
    request, problem = json.decode(text)
    local behind = problem and problem:match("^Expected the end but found .* at character (%d+)$")
    if behind then
      request, body = json.decode(text:sub(1, behind - 1)), body:sub(1, behind - 1)
    end
  end
  return request, body
end

-- Returns the bytes of text in a value, and whether there are images in it, which are no text. A number is a token.
local function measured(value)
  if type(value) ~= "table" then
    return type(value) == "string" and #value or type(value) == "number" and 3 or 0, false
  elseif value.type == "image_url" or value.type == "input_image" or value.type == "image" then
    return 0, true
  end
  local bytes, images = 0, false
  for key, member in pairs(value) do
    if tostring(key):lower() == "images" and type(member) == "table" and member[1] ~= nil then
      images = true
    else
      local more, seen = measured(member)
      -- Tools are described and called with such words.
      bytes, images = bytes + more, images or seen and key ~= "tools" and key ~= "tool_calls"
    end
  end
  return bytes, images
end

-- Returns the offers that a request is balanced over (`offers_for` in routing.py), all that can, and the edge's model
-- if it can, too: it is asked last.
local function offers_for(offers, needs, tokens)
  local found, spares, chosen, edge, longest = {}, {}, {}, nil, 0
  for _, offer in ipairs(offers) do
    local can = offer.node ~= failed
    for need in pairs(needs) do
      can = can and (offer[need] or not offer.known)
    end
    if can then
      local list = offer.spare and spares or found
      list[#list + 1] = offer
      edge = edge or offer.edge and offer.model
    end
  end
  if #found == 0 then
    found, edge = spares, nil
  end
  for _, offer in ipairs(found) do
    longest = offer.context > longest and offer.context or longest
  end
  for _, offer in ipairs(found) do
    chosen[#chosen + 1] = (offer.context >= tokens or offer.context == longest) and offer or nil
  end
  return chosen, found, edge
end

local function unable(name, needs)
  local wanted = {}
  for need, verb in pairs({ tools = "use tools", thinking = "think", vision = "see images" }) do
    wanted[#wanted + 1] = needs[need] and verb
  end
  table.sort(wanted)
  local can = names(function(one) return #offers_for(OFFERS[one], needs, 0) > 0 end)
  return refuse(400, 'The model "' .. SHOWN[name] .. '" cannot ' .. table.concat(wanted, " and ")
    .. ". Those that can: " .. can .. ".", "model_not_capable")
end

local function effort(value)
  return type(value) == "string" and value ~= "" and value ~= "none"
end

if method ~= "POST" then
  local id, body = path:match("^/v1/models/(.+)$"), nil
  if path == "/v1/models" then
    body = '{"object":"list","data":[' .. listed(OPENAI, ",") .. "]}"
  elseif path == "/api/tags" then
    body = '{"models":[' .. listed(TAGS, ",") .. "]}"
  elseif id then
    id = id:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end)
    local name = normalise(id)
    body = OPENAI[name]
    if not body then
      return unknown(id)
    elseif not allowed(name) then
      return forbidden('"' .. SHOWN[name] .. '"')
    end
  end
  return body and kong.response.exit(200, body, { ["Content-Type"] = "application/json; charset=utf-8" })
end

-- What cannot be read here, Ollama may: it goes to all nodes of the alias.
local request, body = decoded(kong.request.get_raw_body(MAX_BYTES) or "")
if not request then
  return shared.models and forbidden("What this request names") or nil
end

-- Ollama reads keys of either case, and takes the long s and the sign of Kelvin for letters.
local fields, models = {}, 0
for key, value in pairs(request) do
  local plain = key:gsub("\197\191", "s"):gsub("\226\132\170", "k"):lower()
  models = models + (plain == "model" and 1 or 0)
  if value ~= json.null then
    fields[plain] = value
  end
end

shared.asked = shared.stored and not embeds and fields or nil

-- `name` is what /api/show was once asked with.
local model = fields.model or path == "/api/show" and fields.name
local named = type(model) == "string" and model ~= ""
local own = named and normalise(model) or embeds and EMBEDDER or normalise(shared.alias)
local name = again and normalise(again) or own
if not OFFERS[name] then
  return unknown(again or named and model or shared.alias)
elseif not allowed(name) then
  return forbidden('"' .. SHOWN[name] .. '"')
end

local bytes, images = measured(request)
local needs = {
  tools = type(fields.tools) == "table" and next(fields.tools) ~= nil or nil,
  thinking = fields.think == true or effort(fields.think) or effort(fields.reasoning_effort)
    or type(fields.reasoning) == "table" and effort(fields.reasoning.effort) or nil,
  vision = images or nil,
}

-- Options of all objects with that name count together, so they are looked for in the text.
local context = 0
local text = openai and "" or body:gsub("\\u00(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end)
for digits in text:gmatch('"num_ctx"%s*:%s*(%d[%deE+.-]*)') do
  context = math.max(context, tonumber(digits) or 0)
end

-- Three bytes of text for a token leave room for an answer. Asked again, a longer request is better cut than lost.
local tokens = (again or embeds) and 0 or math.max(context, bytes / 3)
local chosen, found, edge = offers_for(OFFERS[name], needs, tokens)
if #chosen == 0 then
  return unable(name, needs)
end

local nodes, models_of, least = {}, {}, chosen[1].context
for index, offer in ipairs(chosen) do
  nodes[index], models_of[offer.node], least = offer.node, offer.model, math.min(least, offer.context)
end
kong.service.set_upstream(UPSTREAMS[table.concat(nodes, " ")])

local added = {}
if again or not named or models > 1 then
  added[1] = '"model":' .. json.encode(SHOWN[name])
end
if context > least then
  -- More would take memory that the node has not; the other options stay.
  added[#added + 1] = '"options":{"num_ctx":' .. least .. "}"
end
if #added > 0 then
  local separator = next(request) ~= nil and "," or ""
  kong.service.request.set_raw_body(body:match("^(.*)}%s*$") .. separator .. table.concat(added, ",") .. "}")
end

if fields.stream == true or fields.stream == nil and not openai and not embeds then
  -- Of a stream the first byte comes when the model is loaded; else all of the answer is waited for.
  kong.service.set_timeouts(CONNECT_MS, WRITE_MS, FIRST_BYTE_MS)
end

-- For answer.lua: what to do if this comes to nothing. Once the same model elsewhere, or with a shorter context; then
-- its substitute; then the edge.
local other = name == own and SUBSTITUTES[name]
shared.ai = {
  name = SHOWN[name],
  models = models_of,
  stands_in = again and not failed,
  elsewhere = not again and #found > 1 and SHOWN[name] or nil,
  instead = not again and #found > #chosen and SHOWN[name]
    or other and allowed(other) and #offers_for(OFFERS[other], needs, 0) > 0 and SHOWN[other] or nil,
  edge = edge,
}
shared.message = 'No node with the model "' .. SHOWN[name] .. '" answers (' .. table.concat(nodes, ", ")
  .. "). Try again in a few seconds, or take another model: /v1/models lists them."
