std = "min"
max_line_length = 120
cache = false
files["lua/vllm/health.lua"] = { read_globals = { "vim" } }
files["bench/neovim"] = { globals = { "vim" } }
files["examples/nvim"] = { globals = { "vim" } }
files["spec"] = { std = "min+busted", max_line_length = false }
files["**/*.rockspec"] = { std = "rockspec" }
files[".luacheckrc"] = { std = "luacheckrc" }
