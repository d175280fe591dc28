# One commit is outstanding at most; what is resolved meanwhile goes with the next.
# Mere progress waits up to 5 ms while other work is out; with nothing out it goes at once.
config batch=1
seen invoke commit wake
hold commits
put 5
    invoke 1
done 1
    invoke 2
    wake in 5ms
done 2
    invoke 3
wait 5ms
    commit next 3
done 3
    invoke 4
done 4
    invoke 5
commit ok
    wake in 5ms
wait 5ms
    commit next 5
done 5
commit ok
    commit next 6
commit ok
