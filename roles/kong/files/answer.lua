-- Phase header_filter. Names the node that answered and the model it took. Where none answered, or one answered with an
-- error of its own, nginx is told what to do next: an answer that has not begun may still come from somewhere else.
-- Given above: NODES (address -> node name). Where the key was accepted: shared.ai (of route.lua), or shared.asleep: what to say
-- of a service that only runs in a profile; shared.wakes: whether nginx can have its node switch.

local shared, set, status = kong.ctx.shared, kong.response.set_header, kong.response.get_status()
local asked = shared.ai
local answered = kong.response.get_source() == "service"
local away = status == 502 or status == 503 or status == 504

-- After failed tries the variable lists every address that was tried, the answering one last.
local node = answered and NODES[(ngx.var.upstream_addr or ""):match("([^%s,]+):%d+%s*$")]
shared.node = node
if node then
  set("X-AI-Node", node)
  if asked then
    set("X-AI-Model", asked.models[node])
    if asked.stands_in then
      set("X-AI-Fallback", node)
    end
  end
elseif away and not answered then
  set("Retry-After", shared.asleep and "30" or "5")
  if shared.asleep then
    -- 502 until the probes have noticed: for the caller it is the same.
    kong.response.set_status(503)
    -- Only what certainly reached nobody is asked again, and once.
    if shared.wakes and status == 503 and kong.request.get_header("X-AI-Again") ~= "woken" then
      set("X-Accel-Redirect", "@wake")
    end
  end
end

if asked and (away or answered and status == 500) then
  local again = answered and asked.elsewhere or not answered and asked.instead
  if again then
    set("X-AI-Next", again)
    set("X-Accel-Redirect", "@again")
  elseif not answered and asked.edge then
    set("X-AI-Next", asked.name)
    set("X-AI-Edge", asked.edge)
    set("X-Accel-Redirect", "@edge")
  end
end
