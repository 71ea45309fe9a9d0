-- Phase access of every route, after the key: what its owner may do.
-- Given above: MODELS (user -> name as in NAMES -> true; who is not in it may use all).

local shared = kong.ctx.shared
for _, tag in ipairs(kong.client.get_credential().tags) do
  -- Days in UTC, which compare as text.
  local last = tag:match("^until:(.+)$")
  if last and ngx.utctime():sub(1, 10) > last then
    shared.code = "key_expired"
    return kong.response.exit(401, { message = "This key was valid until " .. last .. "; ask for another one." })
  end
end
shared.models = MODELS[kong.client.get_consumer().username]
