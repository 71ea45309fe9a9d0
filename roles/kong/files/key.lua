-- Phase access, before the key is asked for. Kong compares whole values, and the scheme of OpenAI's clients has no case.
-- Beside an `apikey`, `Authorization` is for the service.

local key = (kong.request.get_header("Authorization") or ""):match("^%s*[Bb][Ee][Aa][Rr][Ee][Rr]%s+(%S.*)$")
if key and not kong.request.get_header("apikey") then
  kong.service.request.set_header("Authorization", key)
end
