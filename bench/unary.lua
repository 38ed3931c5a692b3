-- The load of the unary figure: a checked request, sent either at a given pace or as fast as it goes.
-- Arguments: credential, file with the body, length (0: any) and mark of a right answer, mean pause in
-- ms (0: none), status of a right answer.

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  local file = assert(io.open(arguments[2], "rb"))
  wrk.method = "POST"
  wrk.body = file:read("*a")
  file:close()
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["Authorization"] = "Bearer " .. arguments[1]
  right_length = tonumber(arguments[3])
  mark = arguments[4]
  right_status = tonumber(arguments[6])
  right, wrong, first_wrong = 0, 0, ""

  local pause_ms = tonumber(arguments[5])
  if pause_ms > 0 then
    -- Pauses are drawn at random, or all connections would keep the step they start in and arrive as bursts.
    function delay()
      return math.random(0, 2 * pause_ms)
    end
  end
end

function response(status, headers, body)
  if status == right_status and (right_length == 0 or #body == right_length) and body:find(mark, 1, true) then
    right = right + 1
  else
    wrong = wrong + 1
    if first_wrong == "" then
      first_wrong = status .. " " .. #body .. " bytes: " .. body:sub(1, 80)
    end
  end
end

function done(summary)
  local errors = summary.errors
  for _, thread in ipairs(threads) do
    io.write("RESULT\t", thread:get("right"), "\t", thread:get("wrong"), "\t")
    io.write(errors.connect + errors.read + errors.write + errors.timeout, "\t")
    io.write(summary.duration, "\t")
    io.write(thread:get("first_wrong"):gsub("[%c]", " "), "\n")
  end
end
