-- A new connection and one point select, over and over, as `oltp_point_select` asks over connections that stay.
function thread_init()
   driver = sysbench.sql.driver()
end

function event()
   local connection = driver:connect()
   connection:query("SELECT c FROM sbtest1 WHERE id = " .. sysbench.rand.uniform(1, 10000))
   connection:disconnect()
end
