-- busted loads this first: VLLM_TEST_ENGINE=thread runs a whole suite with engines that have a thread.
local mode = os.getenv "VLLM_TEST_ENGINE"
if mode and mode ~= "" then
  require "spec.support.env"
  require("vllm.transports.curl").default_mode = mode
end
