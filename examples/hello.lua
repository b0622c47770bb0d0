-- The shortest program: ask, print.
-- VLLM_MODEL=… [VLLM_BASE_URL=http://host:8000/v1] lua examples/hello.lua [question]
local vllm = require "vllm"

local client = assert(vllm.from_env())
print(vllm.printable(assert(client:ask(arg[1] or "Why is the sky blue? One sentence."))))
