-- vllm.image, vllm.audio, vllm.video, vllm.file: what they read, what they see in it, what they refuse.

local media = require "vllm.request.media"

local function file_of(bytes, name)
  local path = os.tmpname()
  os.remove(path)
  path = path .. (name or "")
  local file = assert(io.open(path, "wb"))
  file:write(bytes)
  file:close()
  return path
end

local PNG = "\137PNG\r\n\26\n"

describe("the media type is seen in the bytes", function()
  for _, case in ipairs {
    { PNG, "image/png" }, { "\255\216\255\224", "image/jpeg" }, { "GIF89a", "image/gif" }, { "GIF87a", "image/gif" },
    { "RIFF\1\2\3\4WEBPVP8 ", "image/webp" }, { "RIFF\1\2\3\4WAVEfmt ", "audio/wav" },
      { "RIFF\1\2\3\4AVI LIST", "video/x-msvideo" },
    { "ID3\4", "audio/mpeg" }, { "\255\251\144", "audio/mpeg" }, { "\255\241\80", "audio/aac" },
      { "fLaC\0", "audio/flac" },
    { "OggS\0", "audio/ogg" }, { "OggS\0", "video/ogg", "video" }, { "\0\0\0\24ftypisom", "video/mp4" },
    { "\0\0\0\24ftypisom", "audio/mp4", "audio" }, { "\0\0\0\24ftypM4A ", "audio/mp4" },
      { "\0\0\0\20ftypqt  ", "video/quicktime" },
    { "\0\0\0\24ftypavif", "image/avif" }, { "\26\69\223\163", "video/webm" },
      { "\26\69\223\163", "audio/webm", "audio" },
    { "BM6\0", "image/bmp", "image" }, { "BM6\0", nil, "audio" }, { "II*\0", "image/tiff" },
      { "%PDF-1.7", "application/pdf" },
    { "PK\3\4", "application/zip" }, { "", nil }, { "RIFF", nil }, { "hello", nil }, { "RIFX\1\2\3\4WAVE", nil },
  } do
    it(("%q is %s"):format(case[1]:gsub("[^%w ]", "?"), tostring(case[2])), function()
      assert.equal(case[2], media.sniff(case[1], case[3]))
    end)
  end
end)

describe("constructors", function()
  it("make plain tables", function()
    assert.same({ type = "image", url = "http://x/a", detail = "low" },
      media.image { url = "http://x/a", detail = "low" })
    assert.same({ type = "image", bytes = PNG, mime = "image/png" }, media.image { bytes = PNG })
    assert.same({ type = "audio", bytes = "abc", mime = "audio/wav" },
      media.audio { bytes = "abc", mime = "audio/wav" })
    assert.same({ type = "file", bytes = "abc", name = "a" }, media.file { bytes = "abc", name = "a" })
  end)

  it("read a file, see its type in its bytes and take its name", function()
    local path = file_of(PNG .. ("x"):rep(3 * 1024 * 1024), "-cat.dat")
    local part = assert(media.image { path = path })
    os.remove(path)
    assert.equal("image/png", part.mime)
    assert.equal(8 + 3 * 1024 * 1024, #part.bytes)
    assert.equal(path:match("[^/]+$"), part.name)
  end)

  it("fall back on the file's extension", function()
    local path = file_of("RIFX", ".WAV")
    local part = assert(media.audio { path = path })
    os.remove(path)
    assert.equal("audio/wav", part.mime)
    path = file_of("return 1\n", ".lua")
    part = assert(media.file { path = path })
    os.remove(path)
    assert.same({ "text/x-lua", "return 1\n", "file" }, { part.mime, part.bytes, part.type })
  end)

  it("an empty file is a file, but no image", function()
    local path = file_of("", ".png")
    local part = media.file { path = path }
    local image, message = media.image { path = path }
    os.remove(path)
    assert.equal("", part.bytes)
    assert.is_nil(image)
    assert.equal("invalid_request: vllm.image: " .. path .. ": empty", message)
  end)

  it("return the reason when the world is at fault", function()
    for _, case in ipairs {
      { media.image, { path = "/no/such.png" }, "^invalid_request: vllm%.image: /no/such%.png: No such file" },
      { media.image, { path = "http://h/cat.png" },
        "^invalid_request: vllm%.image: http://h/cat%.png: No such file.*%(write url = … for what is not a file%)$" },
      { media.file, { path = "/" }, "^invalid_request: vllm%.file: /: .*directory" },
      { media.image, { bytes = "hello" }, "^invalid_request: vllm%.image: bytes: cannot tell what it is: give mime$" },
      { media.image, { bytes = "%PDF-1.7" }, "^invalid_request: vllm%.image: bytes: this is application/pdf$" },
      { media.video, { bytes = PNG }, "^invalid_request: vllm%.video: bytes: this is image/png$" },
      { media.audio, { bytes = "" }, "^invalid_request: vllm%.audio: bytes: empty$" },
      { media.image, { path = "/etc/passwd\0.png" }, "^invalid_request: vllm%.image: path holds a NUL$" },
      { media.file, { path = "\0/etc/passwd", name = "a" }, "^invalid_request: vllm%.file: path holds a NUL$" },
      { media.file, { bytes = "a", name = "a\0.txt" }, "^invalid_request: vllm%.file: name holds a NUL$" },
      { media.video, { url = "http://h/a\0" }, "^invalid_request: vllm%.video: url holds a NUL$" },
      { media.image, { bytes = PNG, detail = "\0" }, "^invalid_request: vllm%.image: detail holds a NUL$" },
    } do
      local part, message, err = case[1](case[2])
      assert.is_nil(part)
      assert.matches(case[3], message)
      assert.equal("invalid_request", err.kind)
      assert.equal(message, err.message)
    end
  end)

  it("read no more than 256 MiB", function()
    local path = file_of ""
    local file = assert(io.open(path, "wb")) -- all hole
    file:seek("set", 256 * 1024 * 1024)
    file:write "x"
    file:close()
    local part, message = media.file { path = path }
    os.remove(path)
    assert.is_nil(part)
    assert.equal("invalid_request: vllm.file: " .. path .. ": larger than 256 MiB", message)
  end)

  it("throw at their caller when they are misused", function()
    for _, case in ipairs {
      { media.image, "cat.png", "vllm.image: expected a table such as { path = … }, got string" },
      { media.image, {}, "vllm.image: expected exactly one of path, url and bytes" },
      { media.audio, { url = "http://x", bytes = "a" }, "vllm.audio: expected exactly one of path, url and bytes" },
      { media.image, { pth = "a" },
        "vllm.image: unknown key `pth`; known are bytes, detail, mime, name, path, url, uuid" },
      { media.image, { path = "a", detial = "low" }, "vllm.image: unknown key `detial` (did you mean `detail`?)" },
      { media.video, { path = 5 }, "vllm.video: path: expected a string, got number" },
      { media.file, { url = "http://x" },
        "vllm.file: files go by path or bytes; only images, audio and video go by URL" },
      { media.image, { bytes = PNG, mime = "png" }, "vllm.image: mime: expected a media type such as image/png" },
    } do
      local ok, message = pcall(function()
        local part = case[1](case[2])
        return part
      end)
      assert.is_false(ok)
      assert.matches("media_spec%.lua:%d+: ", message)
      assert.equal(case[3], (message:gsub("^.-:%d+: ", "")))
    end
  end)
end)

describe("small parts", function()
  it("audio formats", function()
    for mime, format in pairs {
      ["audio/wav"] = "wav", ["audio/x-wav"] = "wav", ["audio/vnd.wave"] = "wav", ["audio/mpeg"] = "mp3",
        ["audio/mp3"] = "mp3",
      ["audio/flac"] = "flac", ["AUDIO/X-FLAC"] = "flac", ["audio/ogg"] = "ogg",
    } do
      assert.equal(format, media.audio_format(mime))
    end
  end)

  it("media types", function()
    for _, mime in ipairs { "image/png", "application/vnd.ms-excel", "image/svg+xml" } do
      assert.is_true(media.is_mime(mime))
    end
    for _, mime in ipairs { "png", "image/", "/png", "image/png;base64,x", "image/p ng", "image/png\n", ("a/"):rep(200),
      5 } do
      assert.is_false(media.is_mime(mime))
    end
  end)

  it("a data URL taken apart", function()
    assert.same({ "audio/wav", "AA==" }, { media.of_data_url "data:audio/wav;rate=8000;base64,AA==" })
    assert.same({ "", "AA==" }, { media.of_data_url "data:;base64,AA==" })
    for _, text in ipairs { "data:audio/wav,AA", "data:audio/wav;base64", "http://h/;base64,AA",
      "data:" .. ("a"):rep(1000000) } do
      assert.is_nil((media.of_data_url(text)))
    end
  end)

  it("binary contents", function()
    assert.is_true(media.is_binary "a\0b")
    assert.is_true(media.is_binary "%PDF-1.4 text")
    assert.is_false(media.is_binary "plain")
  end)
end)
