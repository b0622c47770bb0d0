std = "min"
max_line_length = 140
cache = false
files["spec"] = { std = "min+busted", max_line_length = false }
files["**/*.rockspec"] = { std = "rockspec" }
files[".luacheckrc"] = { std = "luacheckrc" }
