-- The words of failures in nginx.
local nginx_errors = require "vllm.transports.nginx_errors"

describe("the words of a failure in nginx", function()
  local ASKED = { place = "host:443", scheme = "https", is_ip = false }

  for why, expected in pairs {
    ["20: unable to get local issuer certificate"] = "`lua_ssl_trusted_certificate`",
    ["19: self-signed certificate in certificate chain"] = "`lua_ssl_trusted_certificate`",
    ["22: certificate chain too long"] = "`lua_ssl_verify_depth`",
    ["10: certificate has expired"] = "its certificate has expired",
    ["18: self-signed certificate"] = "is self-signed",
    ["18: self signed certificate"] = "is self-signed",
    ["21: unable to verify the first certificate"] = "without the chain",
    ["9: certificate is not yet valid"] = "clock",
    ["certificate host mismatch"] = "for another name than the one in base_url",
    ["refused"] = "`lua_ssl_trusted_certificate`",
  } do
    it("of TLS: " .. why, function()
      local failure = nginx_errors.of("tls", why, ASKED)
      assert.equal("tls", failure.kind)
      assert.is_false(failure.retryable)
      assert.matches(expected, failure.detail, 1, true)
    end)
  end

  it("of TLS with a stale number in front goes by the words", function()
    local failure = nginx_errors.of("tls", "20: handshake failed", ASKED)
    assert.matches("^no TLS with host:443 %(handshake failed%)", failure.detail)
    assert.is_nil(failure.retryable)
  end)

  for why, expected in pairs {
    ['no resolver defined to resolve "host"'] = "a `resolver` in nginx.conf",
    ["host could not be resolved (3: Host not found)"] = "cannot be resolved (host could not be resolved (3: Host not "
      .. "found))",
    ["connection refused"] = "nothing listens there",
    ["operation now in progress"] = "this worker has no connection left, unless its log says otherwise: raise "
      .. "`worker_connections`",
    ["Too many open files"] = "this worker has no file descriptor left: raise `worker_rlimit_nofile`",
    ["No such file or directory"] = "there is no such socket",
    ["something else"] = "cannot connect to host:443: something else",
  } do
    it("to connect: " .. why, function()
      local failure = nginx_errors.of("connect", why, ASKED)
      assert.equal("connect", failure.kind)
      assert.matches(expected, failure.detail, 1, true)
    end)
  end

  it("of a connection that ends says how far it had come", function()
    assert.matches("while the request was being sent", nginx_errors.of("send", "closed", ASKED).detail, 1, true)
    assert.matches("without an answer (reset)", nginx_errors.of("head", "reset", ASKED).detail, 1, true)
    assert.matches("in the middle of its answer", nginx_errors.of("body", "closed", ASKED).detail, 1, true)
  end)
end)
