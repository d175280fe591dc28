package wasm

import "golang.org/x/sys/unix"

const noReserve = unix.MAP_NORESERVE // a limit is no promise to use it
