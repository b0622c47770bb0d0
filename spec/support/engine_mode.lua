-- busted loads this first: VLLM_TEST_ENGINE=thread runs a whole suite with engines that have a thread. It loads no
-- module itself: busted gives each spec file modules of its own, and what is loaded here would be everybody's.
local mode = os.getenv "VLLM_TEST_ENGINE"
if mode and mode ~= "" then
  package.preload["vllm.transports.curl"] = function(name)
    local module = assert(loadfile "lua/vllm/transports/curl.lua")(name)
    module.default_mode = mode
    return module
  end
end
