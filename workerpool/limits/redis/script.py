"""The protocol of `model` in Lua, as the server runs it: one call, which nothing else comes in between.

Whoever changes one changes the other: `tests/property/test_redis_model.py` holds them together. It is one long script,
as a server runs nothing else in one step. The keys are those of
the members and of each account, in the order of the call's asks; the arguments are the time, or "" for the server's
own, and the call as JSON. The state is in hashes, with a field for each member and one, ".", for the rest, and ends by
itself when nobody has called for long.
"""

from __future__ import annotations

SCRIPT = r"""
local TICK, TICK_PER_MEMBER, SILENCE, GONE, GONE_TICKS, TURN = 100000, 1000, 5, 5000000, 10, 1000000
local GROUP, GROUPED, LATENESS, PARTS, LONG, FULL = 5000000, 1000000, 10000, 30, 2^50, 1000000000
local KEPT = 120000000

local floor, max, min = math.floor, math.max, math.min
local function up(number, by) return -floor(-number / by) end
local function pack(value) return cmsgpack.pack(value) end
local function unpack_or_nil(text) if text then return cmsgpack.unpack(text) end return nil end

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
local call = cjson.decode(ARGV[2])
local me, my_terms, known, leaves, asks = call[1], call[2], call[3], call[4] == 1, call[5]
local field = 'm' .. me

-- who uses the budget -----------------------------------------------------------------------------

local names = KEYS[1]
local found = redis.call('HMGET', names, '.', field)
local roster = unpack_or_nil(found[1])
if not roster then
  roster = {born = now, known = known, last = now, revived = now, counted_at = -1, count = 0, silent = 0,
    terms = {{0, 1, 1, {}}, {0, 1, 1, {}}}}
end

local function tick() return max(TICK, roster.count * TICK_PER_MEMBER) end

local function missing()
  if now < roster.born + GONE then return max(0, roster.known - roster.count) end
  return 0
end

local function same(one, other)
  for which = 1, 2 do
    local a, b = one[which], other[which]
    if a[1] ~= b[1] or a[2] ~= b[2] or a[3] ~= b[3] or #a[4] ~= #b[4] then return false end
    for index = 1, #a[4] do
      if a[4][index][1] ~= b[4][index][1] or a[4][index][2] ~= b[4][index][2] then return false end
    end
  end
  return true
end

local function strictest(every, which)
  local interval, burst, places, quotas, windows = 0, nil, nil, {}, {}
  for _, member in ipairs(every) do
    local terms = member.terms[which]
    interval = max(interval, terms[1])
    if terms[1] > 0 then burst = min(burst or terms[2], terms[2]) end
    places = min(places or terms[3], terms[3])
    for _, quota in ipairs(terms[4]) do
      if not quotas[quota[2]] then windows[#windows + 1] = quota[2] end
      quotas[quota[2]] = min(quota[1], quotas[quota[2]] or quota[1])
    end
  end
  table.sort(windows)
  local all = {}
  for index, window in ipairs(windows) do all[index] = {quotas[window], window} end
  return {interval, burst or 1, places, all}
end

local function count_all(mine)
  local gone, silence = max(GONE, GONE_TICKS * tick()), SILENCE * tick()
  local all, living, by_name = redis.call('HGETALL', names), {}, {}
  for index = 1, #all, 2 do
    local name = all[index]
    if name ~= '.' and name ~= field then
      local member = cmsgpack.unpack(all[index + 1])
      local is_ahead = member.seen > now
      if is_ahead then member.seen = now end
      if now - max(member.seen, roster.revived) >= gone then
        redis.call('HDEL', names, name)
      else
        if is_ahead then redis.call('HSET', names, name, pack(member)) end
        living[#living + 1] = name
        by_name[name] = member
      end
    end
  end
  if mine then
    living[#living + 1] = field
    by_name[field] = mine
  end
  table.sort(living)
  local members, silent = {}, 0
  for rank, name in ipairs(living) do
    local member = by_name[name]
    if now - max(member.seen, roster.revived) >= silence then silent = silent + 1 end
    if member.rank ~= rank - 1 then
      member.rank = rank - 1
      if name ~= field then redis.call('HSET', names, name, pack(member)) end
    end
    members[rank] = member
  end
  roster.silent, roster.count, roster.counted_at = silent, #living, now
  if #living > 0 then roster.terms = {strictest(members, 1), strictest(members, 2)} end
end

local behind = roster.last - now
if behind > LATENESS then
  roster.born, roster.revived, roster.last, roster.counted_at = roster.born - behind, roster.revived - behind, now, -1
end
if now - roster.last > SILENCE * tick() then roster.revived = now end
roster.last = now
local member = unpack_or_nil(found[2])
local is_new = not member or not same(member.terms, my_terms)
if not member then member = {rank = 0} end
member.seen, member.terms = now, my_terms
if leaves then redis.call('HDEL', names, field) end
if is_new or leaves or now - roster.counted_at >= 2 * tick() then
  if leaves then count_all(nil) else count_all(member) end
end
if not leaves then redis.call('HSET', names, field, pack(member)) end
redis.call('HSET', names, '.', pack(roster))
redis.call('PEXPIRE', names, KEPT / 1000)

-- the grid of an account --------------------------------------------------------------------------

local function cell(account)
  if account.interval >= GROUPED then return account.interval end
  return GROUP
end

local function all_of_it(account) return up(1000000000000, account.interval) end
local function time_of(account, index) return account.anchor + floor(index * cell(account) / 1000) end

local function capacity(account, index)
  if index == 0 then return 1 + account.extra end
  local size, interval = cell(account), account.interval
  if size == interval then return 1 end
  return floor(index * size / interval) - floor((index - 1) * size / interval)
end

local function first(account, at)
  local index = max(0, floor((at - account.anchor) * 1000 / cell(account)))
  while time_of(account, index) < at do index = index + 1 end
  return index
end

local function settle(account, terms)
  local interval, is_other = up(terms[1], 1000), account.interval ~= terms[1]
  account.interval = terms[1]
  if is_other or (now >= account.last + interval and first(account, now) > 0) then
    account.past = account.last
    account.anchor = max(now, account.last + interval)
    account.extra = min(terms[2] - 1, max(0, floor((now - account.last) / interval) - 1))
    account.taken = {}
  end
  local from, kept, any = first(account, now), {}, false
  for index, count in pairs(account.taken) do
    if index >= from then
      kept[index], any = count, true
    else
      account.past = max(account.past, time_of(account, index))
    end
  end
  account.taken = kept
  if from > 1000000 and not any then account.anchor, account.extra = time_of(account, from), 0 end
end

local function take_back(account, times)
  for _, time in ipairs(times) do
    local index = first(account, time)
    local taken = account.taken[index] or 0
    if time >= now and time_of(account, index) == time and taken > 0 then
      if taken == 1 then account.taken[index] = nil else account.taken[index] = taken - 1 end
    end
  end
  account.last = account.past
  for index in pairs(account.taken) do account.last = max(account.last, time_of(account, index)) end
end

local function pick(account, from, near, far, aim, stride, want)
  local index, slots = first(account, from), {}
  while #slots < want do
    local time = time_of(account, index)
    if time > far then break end
    local free = capacity(account, index) - (account.taken[index] or 0)
    while free > 0 and #slots < want and (index == 0 or time <= near or time >= aim) do
      if index > 0 and time > near then aim = aim + stride end
      slots[#slots + 1] = time
      account.taken[index] = (account.taken[index] or 0) + 1
      free = free - 1
    end
    index = index + 1
  end
  if #slots > 0 then account.last = max(account.last, slots[#slots]) end
  return slots
end

local function turn_back(account)
  local back = account.levelled_at - now
  if back <= LATENESS then return end
  account.interval, account.levelled_at = 0, -1
  account.past, account.last = account.past - back, account.last - back
  account['until'] = max(0, account['until'] - back)
  for _, parts in pairs(account.parts) do
    for _, part in ipairs(parts) do part[1], part[2] = part[1] - back, part[2] - back end
  end
end

local function turn_share_back(share)
  local back = max(0, share.asked_at - now)
  share.asked_at, share.leased, share.since = share.asked_at - back, share.leased - back, share.since - back
end

-- quotas ------------------------------------------------------------------------------------------

local function parts_of(account, window)
  local name = tostring(window)
  account.parts[name] = account.parts[name] or {}
  return account.parts[name]
end

local function room(account, terms)
  local least, again_at = -1, 0
  for _, quota in ipairs(terms[4]) do
    local parts, total = parts_of(account, quota[2]), 0
    while parts[1] and parts[1][2] + quota[2] + LATENESS <= now do table.remove(parts, 1) end
    for _, part in ipairs(parts) do total = total + part[3] end
    local left = max(0, quota[1] - total)
    if left == 0 then again_at = max(again_at, parts[1][2] + quota[2] + LATENESS) end
    if least < 0 then least = left else least = min(least, left) end
  end
  return least, again_at
end

local function charge(account, terms, slots)
  local last = slots[#slots]
  for _, quota in ipairs(terms[4]) do
    local parts = parts_of(account, quota[2])
    local part = parts[#parts]
    if part and last - part[1] < floor(quota[2] / PARTS) then
      part[2], part[3] = max(part[2], last), part[3] + #slots
    else
      parts[#parts + 1] = {last, last, #slots}
    end
  end
end

local function refund(account, terms, unused)
  for _, quota in ipairs(terms[4]) do
    local parts, left = parts_of(account, quota[2]), unused
    for index = #parts, 1, -1 do
      local less = min(left, parts[index][3])
      parts[index][3], left = parts[index][3] - less, left - less
    end
  end
end

-- what each member may have -----------------------------------------------------------------------

local function level(demands, most, rounds_up)
  table.sort(demands)
  local left = #demands
  for _, demand in ipairs(demands) do
    if demand * left > most then
      if rounds_up then return up(most, left) end
      return floor(most / left)
    end
    most, left = most - demand, left - 1
  end
  return 0
end

local function divide(key, account, mine, places)
  local all, demands, wishes, wished = redis.call('HGETALL', key), {}, {}, 0
  account.held, account.waiting, account.wishing = 0, 0, {}
  local function count(name, share)
    account.held = account.held + share.held
    if share.wish > 0 then account.wishing[#account.wishing + 1] = name end
    if now - share.asked_at < SILENCE * tick() then
      demands[#demands + 1] = share.demand
      if share.wish > 0 then wishes[#wishes + 1], wished = share.wish, wished + share.wish end
      if share.wish > share.held then account.waiting = account.waiting + 1 end
    end
  end
  for index = 1, #all, 2 do
    local name = all[index]
    if name ~= '.' and name ~= field then
      if redis.call('HEXISTS', names, name) == 0 then
        redis.call('HDEL', key, name)
      else
        count(name, cmsgpack.unpack(all[index + 1]))
      end
    end
  end
  if mine then count(field, mine) end
  table.sort(account.wishing)
  account.level = 0
  if account.interval > 0 then
    local away, every = roster.silent + missing(), roster.count + missing()
    account.level = level(demands, max(1, floor(all_of_it(account) * (every - away) / max(1, every))), true)
  end
  if wished > places then account.place_level = level(wishes, places, false) else account.place_level = LONG end
  account.levelled_at = now
end

local function note_pause(account, ended, pause, places)
  if account.anew > 0 and now >= account['until'] then
    account.ended = account.ended + ended
    if account.ended >= account.anew then account.anew, account.ended = account.anew + 1, 0 end
    if account.anew >= places then account.anew = 0 end
  end
  if pause > 0 then
    account['until'] = max(account['until'], now + pause)
    account.anew, account.ended = 1, 0
  end
end

local function lease_slots(account, share, want, elapsed, left, terms)
  local interval, is_short = up(account.interval, 1000), account.level > 0
  local ahead, rate = max(floor(5 * tick() / 2), interval), share.demand
  if is_short then rate = min(rate, account.level) end
  local full = FULL + rate * ahead
  if not is_short or (share.credit < 0 and roster.silent == 0 and missing() == 0) then
    share.credit = full
  elseif share.credit < 0 then
    share.credit = FULL
  else
    share.credit = min(full, share.credit + rate * min(elapsed, ahead))
  end
  if is_short then want = min(want, floor(share.credit / FULL)) end
  if left >= 0 then want = min(want, left) end
  if want <= 0 then return {} end
  local begin = max(now, account['until'])
  local near = begin - 1
  if is_short then near = begin + max(tick(), interval) end
  local stride = floor(FULL / max(1, rate))
  if rate >= all_of_it(account) then stride = floor(account.interval / 1000) end
  local slots = pick(account, begin, near, now + ahead, max(near, share.leased + stride), stride, want)
  share.credit = share.credit - FULL * #slots
  if #slots > 0 then
    share.leased = slots[#slots]
    charge(account, terms, slots)
  end
  return slots
end

local function lease_places(account, share, others, places)
  local gone = missing()
  local free = floor(places * roster.count / max(1, roster.count + gone)) - account.held
  local fair, allowed = 1, share.wish
  if account.place_level > 0 then fair = account.place_level end
  if others > 0 then allowed = min(allowed, max(share.held, fair)) end
  local more = max(0, min(allowed - share.held, free))
  if others > 0 and account.place_level == 0 and now - share.since < 2 * tick() then more = 0 end
  if more > 0 then
    if share.held == 0 then share.since = now end
    share.held, account.held = share.held + more, account.held + more
  end
  if others <= 0 then return LONG end
  if account.place_level == 0 and now - share.since >= TURN then return 0 end
  return fair
end

local function flying_of(account)
  if account.anew == 0 then return LONG end
  for index, name in ipairs(account.wishing) do
    if name == field then
      local each = floor(account.anew / #account.wishing)
      if index - 1 < account.anew - each * #account.wishing then each = each + 1 end
      return each
    end
  end
  return 0
end

-- each account that is asked for ------------------------------------------------------------------

local leases = {}
for index, ask in ipairs(asks) do
  local key, terms = KEYS[index + 1], roster.terms[min(index, 2)]
  local want, demand, back, unused, used_at, held, wish, ended, pause = unpack(ask)
  local fields = redis.call('HMGET', key, '.', field)
  local account, share = unpack_or_nil(fields[1]), unpack_or_nil(fields[2])
  if not account then
    account = {interval = 0, anchor = 0, extra = 0, past = 0, last = 0, taken = {}, ['until'] = 0, anew = 0, ended = 0,
      parts = {}, level = 0, place_level = 0, held = 0, waiting = 0, levelled_at = -1, wishing = {}}
  end
  turn_back(account)
  local is_fresh = not share
  if is_fresh then
    share = {demand = 0, credit = -1, asked_at = 0, leased = 0, held = held, wish = 0, since = now}
    account.held = account.held + held
  end
  turn_share_back(share)
  local was_waiting = not is_fresh and share.wish > share.held
  note_pause(account, ended, pause, terms[3])
  local less = max(0, share.held - held)
  account.held, share.held = account.held - less, share.held - less
  if less > 0 and share.held == 0 then share.since = now end
  share.demand, share.wish = demand, wish
  local mine = share
  if leaves then
    account.held, mine = account.held - share.held, nil
    redis.call('HDEL', key, field)
  end
  local elapsed = now - share.asked_at
  share.asked_at = now
  if terms[1] > 0 then
    account.past = max(account.past, min(used_at, now))
    account.last = max(account.last, account.past)
    if account.interval == terms[1] then take_back(account, back) end
    settle(account, terms)
    refund(account, terms, unused)
  else
    account.interval = 0
  end
  if is_fresh or leaves or account.anew > 0 or now - account.levelled_at >= floor(tick() / 2) then
    divide(key, account, mine, terms[3])
    was_waiting = share.wish > share.held and not leaves
  end
  local slots, left, again_at = {}, -1, 0
  if terms[1] > 0 and not leaves then
    left, again_at = room(account, terms)
    if is_fresh then elapsed = 0 end
    slots = lease_slots(account, share, want, elapsed, left, terms)
    if left >= 0 then left = left - #slots end
  end
  local others = account.waiting
  if was_waiting then others = others - 1 end
  local most = lease_places(account, share, others, terms[3])
  local short = 0
  if account.level > 0 then short = 1 end
  local lease = {account.interval, terms[2], terms[3], account['until'], share.held, most, flying_of(account), short,
    again_at, left}
  for _, slot in ipairs(slots) do lease[#lease + 1] = slot end
  leases[index] = lease
  redis.call('HSET', key, '.', pack(account))
  if not leaves then redis.call('HSET', key, field, pack(share)) end
  local kept = max(account.last + account.interval / 1000 * terms[2], account['until']) - now
  for _, quota in ipairs(terms[4]) do kept = max(kept, quota[2]) end
  redis.call('PEXPIRE', key, floor((max(0, kept) + KEPT) / 1000))
end
return {now, tick(), roster.count, member.rank, leases}
"""
