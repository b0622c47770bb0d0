std = "min"
max_line_length = 120
cache = false
files["lua/vllm/health.lua"] = { read_globals = { "vim" } }
files["bench/neovim"] = { globals = { "vim" } }
files["examples/nvim"] = { globals = { "vim" } }
files["spec"] = { std = "min+busted", max_string_line_length = false }
files["**/*.rockspec"] = { std = "rockspec" }
files[".luacheckrc"] = { std = "luacheckrc" }
-- Recorded answers, embedded programs and long tables of cases are not wrapped.
files["spec/bind/*.lua"] = { max_line_length = false }
files["spec/chaos/*.lua"] = { max_line_length = false }
files["spec/hosts/*.lua"] = { max_line_length = false }
files["spec/support/*.lua"] = { max_line_length = false }
files["spec/core_spec.lua"] = { max_line_length = false }
files["spec/decoder_spec.lua"] = { max_line_length = false }
files["spec/docs_spec.lua"] = { max_line_length = false }
files["spec/examples_spec.lua"] = { max_line_length = false }
files["spec/members_spec.lua"] = { max_line_length = false }
files["spec/messages_spec.lua"] = { max_line_length = false }
files["spec/mutants.lua"] = { max_line_length = false }
files["spec/reports_spec.lua"] = { max_line_length = false }
files["spec/scheduler_spec.lua"] = { max_line_length = false }
files["spec/schema_spec.lua"] = { max_line_length = false }
files["spec/seed_decoder_spec.lua"] = { max_line_length = false }
files["spec/server_spec.lua"] = { max_line_length = false }
files["spec/turn_spec.lua"] = { max_line_length = false }
