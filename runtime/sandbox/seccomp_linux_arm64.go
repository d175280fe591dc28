package sandbox

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

var ofProcessor = []uintptr{unix.SYS_FSTATAT}

var openOfProcessor = []uintptr{unix.SYS_FSTATAT}
