--- A terminal's screen as an SVG picture. usage: lua scripts/ansi-to-svg.lua TITLE <screen >picture.svg
-- The screen is what `tmux capture-pane -e -p` prints: lines of text with SGR sequences (ECMA-48 8.3.117), nothing
-- else.

local CELL_W, CELL_H, PAD = 8.4, 18, 14
local INK, PAPER = "#d8dee9", "#1e222a"
local COLOURS = { [0] = "#3b4252", "#bf616a", "#a3be8c", "#ebcb8b", "#81a1c1", "#b48ead", "#88c0d0", "#e5e9f0",
  "#6b7489", "#d08770", "#b5d19c", "#f0d9a0", "#9db8d6", "#c9a8c4", "#a3d4e0", "#ffffff" }

-- Colour number n of 256.
local function colour_256(n)
  if n < 16 then return COLOURS[n] end
  if n >= 232 then
    local grey = 8 + (n - 232) * 10
    return ("#%02x%02x%02x"):format(grey, grey, grey)
  end
  local function part(value) return value == 0 and 0 or 55 + 40 * value end
  n = n - 16
  return ("#%02x%02x%02x"):format(part((n - n % 36) / 36), part((n % 36 - n % 6) / 6), part(n % 6))
end

local function escape(text)
  return (text:gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }))
end

-- The extended colour at codes[i]: 5;n or 2;r;g;b. Returns it, and how many codes it took.
local function extended(codes, i)
  if codes[i] == 5 then return colour_256(codes[i + 1]), 2 end
  return ("#%02x%02x%02x"):format(codes[i + 1], codes[i + 2], codes[i + 3]), 4
end

local function apply(style, sequence)
  local codes, i = {}, 1
  for code in (sequence == "" and "0" or sequence):gmatch "%d+" do codes[#codes + 1] = tonumber(code) end
  while i <= #codes do
    local code, taken = codes[i], 0
    if code == 0 then for key in pairs(style) do style[key] = nil end
    elseif code == 1 then style.bold = true
    elseif code == 2 then style.dim = true
    elseif code == 3 then style.italic = true
    elseif code == 4 then style.underline = true
    elseif code == 7 then style.reverse = true
    elseif code == 22 then style.bold, style.dim = nil, nil
    elseif code == 23 then style.italic = nil
    elseif code == 24 then style.underline = nil
    elseif code == 27 then style.reverse = nil
    elseif code == 38 then style.ink, taken = extended(codes, i + 1)
    elseif code == 48 then style.paper, taken = extended(codes, i + 1)
    elseif code == 39 then style.ink = nil
    elseif code == 49 then style.paper = nil
    elseif code >= 30 and code <= 37 then style.ink = COLOURS[code - 30]
    elseif code >= 40 and code <= 47 then style.paper = COLOURS[code - 40]
    elseif code >= 90 and code <= 97 then style.ink = COLOURS[code - 82]
    end
    i = i + 1 + taken
  end
end

local function cells(text)
  local _, count = text:gsub("[^\128-\191]", "")
  return count
end

local function draw(out, style, column, row, text)
  local count = cells(text)
  if count == 0 then return end
  local ink, paper = style.ink or INK, style.paper
  if style.reverse then ink, paper = paper or PAPER, ink end
  local x, y = PAD + column * CELL_W, PAD + row * CELL_H
  if paper then
    out[#out + 1] = ('<rect x="%.1f" y="%.1f" width="%.1f" height="%d" fill="%s"/>')
      :format(x, y, count * CELL_W, CELL_H, paper)
  end
  if not text:find "%S" then return end
  local more = (style.bold and ' font-weight="bold"' or "") .. (style.italic and ' font-style="italic"' or "") ..
    (style.dim and ' opacity="0.6"' or "") .. (style.underline and ' text-decoration="underline"' or "")
  out[#out + 1] = ('<text x="%.1f" y="%.1f" textLength="%.1f" fill="%s"%s>%s</text>')
    :format(x, y + CELL_H - 5, count * CELL_W, ink, more,
    escape(text))
end

local rows, out, width, style = 0, {}, 0, {}
for line in io.lines() do
  local column, at = 0, 1
  while at <= #line do
    local first, last, sequence = line:find("\27%[([%d;:]*)m", at)
    local text = line:sub(at, (first or #line + 1) - 1)
    draw(out, style, column, rows, text)
    column = column + cells(text)
    if sequence then apply(style, sequence) end
    at = (last or #line) + 1
  end
  width, rows = math.max(width, column), rows + 1
end

local w, h = width * CELL_W + 2 * PAD, rows * CELL_H + 2 * PAD
io.write(('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" font-family="monospace" '
  .. 'font-size="14" '
  .. 'xml:space="preserve">\n<title>%s</title>\n<rect width="100%%" height="100%%" rx="6" fill="%s"/>\n')
  :format(w, h, w, escape(arg[1] or ""), PAPER))
io.write(table.concat(out, "\n"), "\n</svg>\n")
