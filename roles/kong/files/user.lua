-- Phase access of every route, after the key: what its owner may do.
-- Given above: STORED (whether anything said is), MODELS (user -> name as in NAMES -> true; who is not in it may use all),
-- UNSTORED (user -> true: of whom nothing is stored).

local shared = kong.ctx.shared
for _, tag in ipairs(kong.client.get_credential().tags) do
  -- Days in UTC, which compare as text.
  local last = tag:match("^until:(.+)$")
  if last and ngx.utctime():sub(1, 10) > last then
    shared.code = "key_expired"
    return kong.response.exit(401, { message = "This key was valid until " .. last .. "; ask for another one." })
  end
end
local name = kong.client.get_consumer().username
shared.models, shared.stored = MODELS[name], STORED and not UNSTORED[name]
