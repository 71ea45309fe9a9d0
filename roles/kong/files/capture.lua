-- Phases access (after the key, the limits and route.lua), body_filter and log: keeps what was said, for the database. Of the
-- rest of a request nothing is sent there. Text goes as base64: bytes of any kind are good JSON then. Of images in a chat only
-- the sizes are kept. Given before: shared.phase, shared.stored (of user.lua), and shared.asked, the fields of a request to a
-- model. Given above: MAX_BYTES of a text.

local json = require "cjson.safe"
local shared = kong.ctx.shared
local kept = shared.kept
local ROLES = { system = true, user = true, assistant = true, tool = true }

-- Returns what lies below these names, nil where there is nothing.
local function at(value, ...)
  for _, name in ipairs({ ... }) do
    value = type(value) == "table" and value[name] or nil
  end
  return value
end

local function list(value)
  return type(value) == "table" and value or {}
end

-- Returns the first of these that is text.
local function text_of(...)
  for index = 1, select("#", ...) do
    local value = select(index, ...)
    if type(value) == "string" then
      return value
    end
  end
end

-- Returns text as it is sent, and whether it is all of it; no half character at its end.
local function encoded(text)
  local cut = #text > MAX_BYTES and text:sub(1, MAX_BYTES):gsub("[\192-\255][\128-\191]*$", "")
  return ngx.encode_base64(((cut or text):gsub("%z", ""))), not cut
end

local function plain(name)
  return name and name:sub(1, 100):gsub("[^%w%p ]", "?")
end

-- Returns the text of a message, and the sizes of its images.
local function said(turn)
  local texts, images, content = { text_of(at(turn, "content")) }, {}, at(turn, "content")
  for _, part in ipairs(list(content)) do
    texts[#texts + 1] = text_of(at(part, "text"))
    local url = text_of(at(part, "image_url"), at(part, "image_url", "url"))
    images[#images + 1] = url and #url
  end
  for _, image in ipairs(list(at(turn, "images"))) do
    images[#images + 1] = type(image) == "string" and #image or nil
  end
  -- A text may be as large as a body: one alone is not copied.
  return #texts == 1 and texts[1] or table.concat(texts, "\n"), images
end

-- Returns the digest of a conversation with one more message. Blanks do not count: clients trim.
local function linked(chain, role, text)
  text = text:sub(1, MAX_BYTES)
  return ngx.md5(chain .. role .. "\n" .. (" " .. text .. " "):gsub("%s+", " "))
end

local function chat(asked)
  local turns = asked.messages or asked.input or asked.prompt
  if type(turns) == "string" then
    -- Without a word it only loads a model.
    turns = turns ~= "" and { { content = turns, images = asked.images } }
  end
  local found = { kind = "chat", parts = {}, size = 0, texts = {}, length = 0, chain = "" }
  for _, turn in ipairs(list(turns)) do
    local text, images = said(turn)
    local role = at(turn, "role")
    role = ROLES[role] and role or at(turn, "type") == "function_call_output" and "tool" or "user"
    found.before, found.chain = found.chain, linked(found.chain, role, text)
    found.role, found.text, found.images = role, text, table.concat(images, ",")
  end
  if found.text then
    found.question, found.question_whole = encoded(found.text)
    found.text = nil
    local hex = "%x%x%x%x"
    local conversation = kong.request.get_header("X-Conversation-Id") or ""
    found.conversation = conversation:match("^" .. hex .. hex .. ("%-" .. hex):rep(4) .. hex .. hex .. "$")
    return found
  end
end

-- Takes one line of an answer, or all of it.
local function take(line)
  local part = json.decode((line:gsub("^data:", "")))
  local choice, type_of = at(part, "choices", 1), at(part, "type")
  local texts = { text_of(at(part, "message", "content"), at(part, "response"), at(choice, "delta", "content"),
    at(choice, "message", "content"), at(choice, "text"), type_of == "response.output_text.delta" and part.delta) }
  for _, item in ipairs(list(at(part, "output"))) do
    texts[#texts + 1] = said(item)
  end
  for _, text in ipairs(texts) do
    if kept.length <= MAX_BYTES then
      kept.texts[#kept.texts + 1], kept.length = text, kept.length + #text
    end
  end
  local usage = list(at(part, "usage") or at(part, "response", "usage"))
  kept.model = text_of(at(part, "model"), at(part, "response", "model"), kept.model)
  kept.prompt_tokens = at(part, "prompt_eval_count") or usage.prompt_tokens or usage.input_tokens or kept.prompt_tokens
  kept.completion_tokens = at(part, "eval_count") or usage.completion_tokens or usage.output_tokens or kept.completion_tokens
  kept.done = kept.done or at(part, "done") or type(at(choice, "finish_reason")) == "string"
    or type_of == "response.completed" or at(part, "status") == "completed"
end

local function keep()
  local path, asked = kong.request.get_path(), shared.asked
  shared.asked = nil
  if not shared.stored then
    return
  end
  local job = path:match("^/api/v1/image/history/([^/]+)$")
  if job then
    shared.kept = { kind = "files", parts = {}, size = 0, job = plain(job) }
  elseif path == "/api/v1/image" then
    local body = kong.request.get_raw_body(MAX_BYTES)
    -- Of a graph that is too long nothing is kept but its job: a part of it is no graph.
    local graph = encoded(body and #body <= MAX_BYTES and body or "null")
    shared.kept = { kind = "image", parts = {}, size = 0, workflow = graph }
  else
    shared.kept = asked and chat(asked)
  end
end

local function collect()
  local chunk = ngx.arg[1]
  if not kept or not chunk or chunk == "" or kong.response.get_status() >= 300 then
    return
  end
  local parts = kept.parts
  parts[#parts + 1], kept.size = chunk, kept.size + #chunk
  if kept.kind == "chat" and chunk:find("\n", 1, true) then
    local text = table.concat(parts)
    -- Whole lines: of one whose end is still to come a pattern would take the square in time.
    local whole = text:match("^.*\n")
    for line in whole:gmatch("[^\n]+") do
      take(line)
    end
    kept.parts, kept.size = { text:sub(#whole + 1) }, #text - #whole
  elseif kept.size > 8 * MAX_BYTES then
    kept.parts, kept.size = {}, 0
  end
end

local function send()
  -- Status, sizes, service and route stay: the plugin prometheus reads them from the same entry.
  for name in ("request.headers request.querystring request.uri request.url response.headers upstream_uri tries"):gmatch("%S+") do
    kong.log.set_serialize_value(name, nil)
  end
  if not kept or kong.response.get_status() >= 300 then
    return
  end
  local rest = table.concat(kept.parts)
  local entry = { kind = kept.kind, job = kept.job }
  if kept.kind == "chat" then
    take(rest)
    local answer = table.concat(kept.texts)
    local whole
    entry.answer, whole = encoded(answer)
    entry.whole, entry.chain = whole and kept.done == true, linked(kept.chain, "assistant", answer)
    entry.model = plain(kept.model)
    for _, name in ipairs({ "role", "question", "question_whole", "images", "before", "conversation" }) do
      entry[name] = kept[name]
    end
    for _, name in ipairs({ "prompt_tokens", "completion_tokens" }) do
      entry[name] = type(kept[name]) == "number" and kept[name] or nil
    end
  elseif kept.kind == "image" then
    entry.job, entry.workflow, entry.node = plain(text_of(at(json.decode(rest), "prompt_id"))), kept.workflow, shared.node
  else
    local files = {}
    for _, output in pairs(list(at(json.decode(rest), kept.job, "outputs"))) do
      for _, image in ipairs(list(at(output, "images"))) do
        local folder, name = text_of(at(image, "subfolder"), ""), text_of(at(image, "filename"))
        files[#files + 1] = name and at(image, "type") == "output" and (folder .. "/" .. name):gsub("^/", "") or nil
      end
    end
    table.sort(files)
    entry.files = #files > 0 and encoded(table.concat(files, "\n")) or nil
  end
  if entry.kind == "chat" or entry.job and (entry.workflow or entry.files) then
    kong.log.set_serialize_value("exchange", entry)
  end
end

-- A fault here costs an entry, never an answer.
local good, problem = pcall(({ access = keep, body_filter = collect, log = send })[shared.phase])
if not good then
  kong.log.err("not stored: ", problem)
end
