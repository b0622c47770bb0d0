-- Measurements on the interpreter that runs this. Figures within one run can be compared, those of two runs cannot:
-- quote ratios.
-- usage (from the root, after make all): make bench
local jit = rawget(_G, "jit")
print(("%s, %s"):format(jit and jit.version or _VERSION, os.date("!%Y-%m-%d")))
-- nginx has a LuaJIT of its own, so it is measured once.
for _, name in ipairs { "loading", "decoding", "scaling", "requests", "schema", "agents", jit and "nginx" } do
  print("\n" .. name)
  require("bench." .. name)
end
