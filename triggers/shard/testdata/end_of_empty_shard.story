# An empty shard ends too.
config batch=2
seen commit finished
end
    commit next 1 urgent ended
    finished ended=true fenced=false
