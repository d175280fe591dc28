# Redrives and records share the invocations that may be out: neither starves.
config batch=2
seen invoke
redrive X:a Y:b Z:c
    invoke X
put d d d d d d
done X
    invoke 1-2
done 1-2
    invoke Y
done Y
    invoke 3-4
done 3-4
    invoke Z
done Z
    invoke 5-6
done 5-6
