-- What the agent can do. The orders stand for your own service, which a tool would ask by client:request.

local ngx = ngx -- luacheck: ignore 113
local ORDERS = { ["1001"] = { item = "kettle", paid = 40 }, ["1002"] = { item = "lamp", paid = 25 } }
local NUMBER = { type = "object", properties = { order = { type = "string" } }, required = { "order" } }

return {
  {
    name = "get_order", description = "What was ordered and paid, and whether it was refunded", parameters = NUMBER,
    run = function(input)
      local order = ORDERS[input.order]
      if not order then return nil, "there is no such order" end
      return { item = order.item, paid = order.paid, is_refunded = ngx.shared.refunds:get(input.order) ~= nil }
    end,
  },
  {
    name = "refund", description = "Refunds all of an order", parameters = NUMBER, approval = "ask",
    run = function(input)
      local order = ORDERS[input.order]
      if not order then return nil, "there is no such order" end
      if not ngx.shared.refunds:add(input.order, order.paid) then return nil, "it was refunded before" end
      return "refunded"
    end,
  },
}
