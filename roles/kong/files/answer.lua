-- Phase header_filter. Names the node that answered and the model it took. Where none answered, or one answered with an
-- error of its own, nginx is told what to do next: an answer that has not begun may still come from somewhere else.
-- Given above: NODES (address:port -> node name). Of route.lua: shared.ai, only where the key was accepted.

local shared, status = kong.ctx.shared, kong.response.get_status()
local asked = shared.ai
local answered = kong.response.get_source() == "service"
local away = status == 502 or status == 503 or status == 504

if answered then
  -- After failed tries the variable lists every address that was tried, the answering one last.
  local tried = ngx.var.upstream_addr or ""
  local node = NODES[tried:match("([^%s,]+)%s*$")]
  if node then
    kong.response.set_header("X-AI-Node", node)
    if asked then
      kong.response.set_header("X-AI-Model", asked.models[node])
    end
    if asked and asked.stands_in then
      kong.response.set_header("X-AI-Fallback", node)
    end
  end
elseif away then
  kong.response.set_header("Retry-After", "5")
end

if asked and (away or answered and status == 500) then
  local again = asked.instead
  if answered then
    again = asked.elsewhere
  end
  if again then
    kong.response.set_header("X-AI-Next", again)
    kong.response.set_header("X-Accel-Redirect", "@again")
  elseif not answered and asked.edge then
    kong.response.set_header("X-AI-Next", asked.edge)
    kong.response.set_header("X-Accel-Redirect", "@edge")
  end
end
