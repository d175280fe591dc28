# When the shard is closed no company can come: the window ends.
config batch=10 window=60s
put 2
end
    invoke 1-2
done 1-2
    finished ended=true fenced=false
