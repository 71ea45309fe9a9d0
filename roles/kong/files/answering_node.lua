-- Phase header_filter. X-AI-Node names the node whose answer this is; Kong's own answers have none.
-- Given above: NODES (address:port -> node name).

if kong.response.get_source() == "service" then
  -- After failed tries the variable lists every address that was tried, the answering one last.
  local tried = ngx.var.upstream_addr or ""
  local node = NODES[tried:match("([^%s,]+)%s*$")]
  if node then
    kong.response.set_header("X-AI-Node", node)
  end
else
  -- No AI node answered somebody whose key was accepted: nginx may ask the edge instead, and only then.
  local status = kong.response.get_status()
  if (status == 502 or status == 503 or status == 504) and kong.client.get_credential() then
    kong.response.set_header("X-Accel-Redirect", "@edge")
  end
end
