# A drain starts no redrive, and leaves it to the next machine; also one that comes
# while it drains.
config batch=10
seen invoke commit finished
put a
    invoke 1
redrive X:a
    commit next 1 urgent redrive X attempts 0
drain
redrive Y:b
    commit next 1 urgent redrive X attempts 0 redrive Y attempts 0
done 1
    commit next 2 redrive X attempts 0 redrive Y attempts 0
    finished ended=false fenced=false
restart
    invoke X
done X
    invoke Y
    commit next 2 urgent redrive Y attempts 0 redriven X
done Y
    commit next 2 urgent redriven Y
