;; The part between the guest ABI (docs/abi.md) and QuickJS, in the flat text
;; format of WebAssembly as far as assemble.go reads it. Functions without a
;; body are exports of quickjs.wasm; those with an import are of the host.
;; A value is a pointer to a JavaScript value that we own, until qjs_free_value.

(func $fd_write (import "wasi_snapshot_preview1" "fd_write") (param i32 i32 i32 i32) (result i32))
(func $random_get (import "wasi_snapshot_preview1" "random_get") (param i32 i32) (result i32))
(func $poll_oneoff (import "wasi_snapshot_preview1" "poll_oneoff") (param i32 i32 i32 i32) (result i32))
(func $environ_sizes_get (import "wasi_snapshot_preview1" "environ_sizes_get") (param i32 i32) (result i32))
(func $environ_get (import "wasi_snapshot_preview1" "environ_get") (param i32 i32) (result i32))
(func $http (import "wasmill" "http") (param i32 i32) (result i32))
(func $http_read (import "wasmill" "http_read") (param i32 i32) (result i32))

(func $malloc (engine "malloc") (param i32) (result i32))
(func $free (engine "free") (param i32))
(func $qjs_init (engine "qjs_init") (result i32))
(func $qjs_set_max_stack_size (engine "qjs_set_max_stack_size") (param i32))
(func $qjs_eval (engine "qjs_eval") (param i32 i32 i32 i32) (result i32))
(func $qjs_call (engine "qjs_call") (param i32 i32 i32 i32) (result i32))
(func $qjs_get_global (engine "qjs_get_global") (result i32))
(func $qjs_get_undefined (engine "qjs_get_undefined") (result i32))
(func $qjs_get_exception (engine "qjs_get_exception") (result i32))
(func $qjs_is_exception (engine "qjs_is_exception") (param i32) (result i32))
(func $qjs_free_value (engine "qjs_free_value") (param i32))
(func $qjs_new_number (engine "qjs_new_number") (param f64) (result i32))
(func $qjs_get_float64 (engine "qjs_get_float64") (param i32) (result f64))
(func $qjs_new_string (engine "qjs_new_string") (param i32 i32) (result i32))
(func $qjs_get_string_len (engine "qjs_get_string_len") (param i32 i32) (result i32))
(func $qjs_free_cstring (engine "qjs_free_cstring") (param i32))
(func $qjs_new_array_buffer (engine "qjs_new_array_buffer") (param i32 i32) (result i32))
(func $qjs_get_array_buffer (engine "qjs_get_array_buffer") (param i32 i32) (result i32))
(func $qjs_is_array_buffer (engine "qjs_is_array_buffer") (param i32) (result i32))
(func $qjs_new_host_function (engine "qjs_new_host_function") (param i32 i32 i32) (result i32))
(func $qjs_get_prop_string (engine "qjs_get_prop_string") (param i32 i32) (result i32))
(func $qjs_set_prop_string (engine "qjs_set_prop_string") (param i32 i32 i32) (result i32))
(func $qjs_is_job_pending (engine "qjs_is_job_pending") (result i32))
(func $qjs_execute_pending_job (engine "qjs_execute_pending_job") (result i32))
(func $qjs_get_context_ptr (engine "qjs_get_context_ptr") (result i32))
(func $qjs_run_gc (engine "qjs_run_gc"))
(func $JS_ParseJSON (engine "JS_ParseJSON") (param i32 i32 i32 i32) (result i64))

(global $strings i32)  ;; where the texts of string.const lie
(global $scratch i32)  ;; 128 bytes for out parameters
(global $buffer i32)   ;; the request, $room bytes of it
(global $room i32)
(global $context i32)
(global $undefined i32)
(global $runtime i32)  ;; the object that prelude.js leaves
(global $reply i32)    ;; value whose bytes the host reads

;; What QuickJS asks of its host.

(func $host_get_timezone_offset (engine-import "host_get_timezone_offset") (param $hi i32) (param $lo i32) (result i32)
  i32.const 0) ;; UTC, as TZ says

(func $host_interrupt (engine-import "host_interrupt") (result i32)
  i32.const 0)

(func $host_promise_rejection (engine-import "host_promise_rejection") (param $promise i32) (param $reason i32) (param $handled i32)
  local.get $promise
  call $qjs_free_value
  local.get $reason
  call $qjs_free_value)

(func $host_module_normalize (engine-import "host_module_normalize") (param $base i32) (param $name i32) (result i32)
  i32.const 0)

(func $host_module_load (engine-import "host_module_load") (param $name i32) (param $len i32) (result i32)
  i32.const 0)

;; host(what, a, b, c) of prelude.js.
(func $host_call (engine-import "host_call") (param $name i32) (param $len i32) (param $this i32) (param $argc i32) (param $argv i32) (result i32)
  (local $what i32)
  local.get $argv
  i32.const 0
  call $number
  local.set $what
  local.get $what
  i32.eqz
  if
    local.get $argv
    call $write
    return
  end
  local.get $what
  i32.const 1
  i32.eq
  if
    local.get $argv
    call $encode
    return
  end
  local.get $what
  i32.const 2
  i32.eq
  if
    local.get $argv
    call $decode
    return
  end
  local.get $what
  i32.const 3
  i32.eq
  if
    local.get $argv
    call $random
    return
  end
  local.get $what
  i32.const 4
  i32.eq
  if
    local.get $argv
    call $sleep
    return
  end
  local.get $what
  i32.const 5
  i32.eq
  if
    call $environ
    return
  end
  local.get $what
  i32.const 6
  i32.eq
  if
    local.get $argv
    call $exchange
    return
  end
  local.get $what
  i32.const 7
  i32.eq
  if
    local.get $argv
    call $take
    return
  end
  call $qjs_get_undefined)

;; The i-th argument as a number.
(func $number (param $argv i32) (param $i i32) (result i32)
  local.get $argv
  local.get $i
  i32.const 2
  i32.shl
  i32.add
  i32.load
  call $qjs_get_float64
  i32.trunc_sat_f64_s)

;; 0: write(descriptor, text)
(func $write (param $argv i32) (result i32) (local $text i32) (local $p i32) (local $n i32)
  local.get $argv
  i32.load offset=8
  global.get $scratch
  call $qjs_get_string_len
  local.tee $text
  local.set $p
  global.get $scratch
  i32.load
  local.set $n
  block $done
    loop $more
      local.get $n
      i32.eqz
      br_if $done
      global.get $scratch
      local.get $p
      i32.store
      global.get $scratch
      local.get $n
      i32.store offset=4
      local.get $argv
      i32.const 1
      call $number
      global.get $scratch
      i32.const 1
      global.get $scratch
      i32.const 8
      i32.add
      call $fd_write
      br_if $done
      local.get $p
      global.get $scratch
      i32.load offset=8
      i32.add
      local.set $p
      local.get $n
      global.get $scratch
      i32.load offset=8
      i32.sub
      local.set $n
      br $more
    end
  end
  local.get $text
  call $qjs_free_cstring
  call $qjs_get_undefined)

;; 1: encode(text) -> ArrayBuffer of UTF-8
(func $encode (param $argv i32) (result i32) (local $text i32) (local $value i32)
  local.get $argv
  i32.load offset=4
  global.get $scratch
  call $qjs_get_string_len
  local.tee $text
  i32.eqz
  if
    i32.const 0 ;; it threw
    return
  end
  local.get $text
  global.get $scratch
  i32.load
  call $qjs_new_array_buffer
  local.set $value
  local.get $text
  call $qjs_free_cstring
  local.get $value)

;; 2: decode(ArrayBuffer, offset, length) -> text; what is not UTF-8 becomes U+FFFD
(func $decode (param $argv i32) (result i32) (local $p i32)
  local.get $argv
  i32.load offset=4
  global.get $scratch
  call $qjs_get_array_buffer
  local.get $argv
  i32.const 2
  call $number
  i32.add
  local.get $argv
  i32.const 3
  call $number
  call $qjs_new_string)

;; 3: random(n) -> ArrayBuffer
(func $random (param $argv i32) (result i32) (local $n i32) (local $p i32) (local $value i32)
  local.get $argv
  i32.const 1
  call $number
  local.tee $n
  call $malloc
  local.tee $p
  i32.eqz
  if
    unreachable
  end
  local.get $p
  local.get $n
  call $random_get
  if
    unreachable
  end
  local.get $p
  local.get $n
  call $qjs_new_array_buffer
  local.set $value
  local.get $p
  call $free
  local.get $value)

;; 4: sleep(milliseconds): one clock subscription, relative, monotonic
(func $sleep (param $argv i32) (result i32) (local $p i32)
  global.get $scratch
  local.tee $p
  i32.const 0
  i32.const 96
  memory.fill
  local.get $p
  i32.const 1
  i32.store offset=16
  local.get $p
  local.get $argv
  i32.load offset=4
  call $qjs_get_float64
  f64.const 1000000
  f64.mul
  i64.trunc_sat_f64_u
  i64.store offset=24
  local.get $p
  local.get $p
  i32.const 48
  i32.add
  i32.const 1
  local.get $p
  i32.const 88
  i32.add
  call $poll_oneoff
  drop
  call $qjs_get_undefined)

;; 5: environ() -> ArrayBuffer of NAME=VALUE, a zero after each
(func $environ (result i32) (local $p i32) (local $list i32) (local $value i32)
  global.get $scratch
  global.get $scratch
  i32.const 4
  i32.add
  call $environ_sizes_get
  drop
  global.get $scratch
  i32.load
  i32.const 2
  i32.shl
  call $malloc
  local.set $list
  global.get $scratch
  i32.load offset=4
  call $malloc
  local.set $p
  local.get $list
  local.get $p
  call $environ_get
  drop
  local.get $p
  global.get $scratch
  i32.load offset=4
  call $qjs_new_array_buffer
  local.set $value
  local.get $list
  call $free
  local.get $p
  call $free
  local.get $value)

;; 6: http(ArrayBuffer) -> length of the response, negative for an error
(func $exchange (param $argv i32) (result i32)
  local.get $argv
  i32.load offset=4
  global.get $scratch
  call $qjs_get_array_buffer
  global.get $scratch
  i32.load
  call $http
  f64.convert_i32_s
  call $qjs_new_number)

;; 7: http_read(n) -> ArrayBuffer, of n bytes at most
(func $take (param $argv i32) (result i32) (local $n i32) (local $p i32) (local $value i32)
  local.get $argv
  i32.const 1
  call $number
  local.tee $n
  call $malloc
  local.tee $p
  i32.eqz
  if
    unreachable
  end
  local.get $p
  local.get $p
  local.get $n
  call $http_read
  call $qjs_new_array_buffer
  local.set $value
  local.get $p
  call $free
  local.get $value)

;; Calls method of the runtime object; argv has argc values, which are freed.
(func $method (param $name i32) (param $argc i32) (param $argv i32) (result i32) (local $f i32) (local $value i32)
  global.get $runtime
  local.get $name
  call $qjs_get_prop_string
  local.tee $f
  global.get $undefined
  local.get $argc
  local.get $argv
  call $qjs_call
  local.set $value
  local.get $f
  call $qjs_free_value
  block $done
    loop $more
      local.get $argc
      i32.eqz
      br_if $done
      local.get $argc
      i32.const 1
      i32.sub
      local.tee $argc
      i32.const 2
      i32.shl
      local.get $argv
      i32.add
      i32.load
      call $qjs_free_value
      br $more
    end
  end
  local.get $value)

;; Runs promises that can go on.
(func $drain
  block $done
    loop $more
      call $qjs_is_job_pending
      i32.eqz
      br_if $done
      call $qjs_execute_pending_job
      i32.const 0
      i32.lt_s
      if
        call $qjs_get_exception
        call $qjs_free_value
      end
      br $more
    end
  end)

;; Evaluates source text of n bytes that a zero follows, and frees it.
(func $evaluate (param $text i32) (param $n i32) (param $name i32) (param $flags i32) (result i32) (local $value i32)
  local.get $text
  local.get $n
  local.get $name
  local.get $flags
  call $qjs_eval
  local.set $value
  local.get $text
  call $free
  local.get $value)

(func $wm_abi_version (export "wm_abi_version") (result i32)
  i32.const 1)

(func $wm_start (export "wm_start") (result i32) (local $p i32) (local $value i32) (local $failed i32)
  call $qjs_init
  if
    i32.const 1
    return
  end
  i32.const 524288 ;; half of what the engine's memory has for it
  call $qjs_set_max_stack_size
  call $qjs_get_context_ptr
  global.set $context
  call $qjs_get_undefined
  global.set $undefined
  i32.const 128
  call $malloc
  global.set $scratch
  i32.const @strings
  call $malloc
  local.tee $p
  global.set $strings
  local.get $p
  i32.const 0
  i32.const @strings
  memory.init @strings
  ;; globalThis.host, which prelude.js takes away again
  call $qjs_get_global
  local.tee $p
  string.const "host"
  string.const "host"
  i32.const 4
  i32.const 0
  call $qjs_new_host_function
  local.tee $value
  call $qjs_set_prop_string
  drop
  local.get $value
  call $qjs_free_value
  local.get $p
  call $qjs_free_value

  i32.const @prelude
  i32.const 1
  i32.add
  call $malloc
  local.tee $p
  i32.const 0
  i32.const @prelude
  memory.init @prelude
  local.get $p
  i32.const @prelude
  i32.add
  i32.const 0
  i32.store8
  local.get $p
  i32.const @prelude
  string.const "wasmill"
  i32.const 0
  call $evaluate
  local.tee $value
  call $qjs_is_exception
  if
    unreachable
  end
  local.get $value
  global.set $runtime

  i32.const @program
  i32.const 1
  i32.add
  call $malloc
  local.tee $p
  i32.const 0
  i32.const @program
  memory.init @program
  local.get $p
  i32.const @program
  i32.add
  i32.const 0
  i32.store8
  local.get $p
  i32.const @program
  string.const "function.js"
  i32.const 1 ;; a module
  call $evaluate
  local.tee $value
  call $qjs_is_exception
  if
    ;; it has no promise then: hand the exception over
    local.get $value
    call $qjs_free_value
    call $qjs_get_exception
    local.set $value
    i32.const 1
    local.set $failed
  end
  global.get $scratch
  local.get $value
  i32.store offset=112
  global.get $scratch
  local.get $failed
  f64.convert_i32_s
  call $qjs_new_number
  i32.store offset=116
  string.const "evaluated"
  i32.const 2
  global.get $scratch
  i32.const 112
  i32.add
  call $method
  call $qjs_free_value
  ;; until the module has been evaluated, or never will be
  loop $more
    call $drain
    string.const "started"
    i32.const 0
    i32.const 0
    call $method
    local.tee $value
    call $qjs_get_float64
    i32.trunc_sat_f64_s
    local.set $failed
    local.get $value
    call $qjs_free_value
    local.get $failed
    i32.const 0
    i32.lt_s
    br_if $more
  end
  local.get $failed)

(func $wm_freeze (export "wm_freeze")
  call $qjs_run_gc)

(func $wm_reseed (export "wm_reseed") (param $seed i64)
  string.const "reseed"
  i32.const 0
  i32.const 0
  call $method
  call $qjs_free_value)

(func $wm_alloc (export "wm_alloc") (param $n i32) (result i32)
  local.get $n
  global.get $room
  i32.ge_u
  if
    global.get $buffer
    call $free
    i32.const 0
    global.set $room
    local.get $n
    i32.const 1
    i32.add ;; the parser wants a zero at the end
    call $malloc
    global.set $buffer
    global.get $buffer
    i32.eqz
    if
      i32.const 0
      return
    end
    local.get $n
    i32.const 1
    i32.add
    global.set $room
  end
  global.get $buffer)

(func $wm_json (export "wm_json") (param $n i32) (result i64) (local $event i32) (local $length i32) (local $offset i32)
  global.get $reply
  if
    global.get $reply
    call $qjs_free_value
    i32.const 0
    global.set $reply
  end
  global.get $buffer
  local.get $n
  i32.add
  i32.const 0
  i32.store8
  global.get $buffer
  i32.load offset=24
  local.set $length
  global.get $buffer
  i32.load offset=28
  local.set $offset
  ;; a fresh value, overwritten by what the parser returns
  f64.const 0
  call $qjs_new_number
  local.tee $event
  global.get $context
  global.get $buffer
  local.get $offset
  i32.add
  local.get $length
  string.const "event"
  call $JS_ParseJSON
  i64.store
  local.get $event
  call $qjs_is_exception
  if
    local.get $event
    call $qjs_free_value
    call $qjs_get_exception
    local.set $event
  end
  global.get $scratch
  local.get $event
  i32.store offset=112
  global.get $scratch
  global.get $buffer
  local.get $offset
  call $qjs_new_array_buffer
  i32.store offset=116
  string.const "invoke"
  i32.const 2
  global.get $scratch
  i32.const 112
  i32.add
  call $method
  call $qjs_free_value
  block $done
    loop $more
      call $drain
      string.const "reply"
      i32.const 0
      i32.const 0
      call $method
      global.set $reply
      global.get $reply
      call $qjs_is_array_buffer
      br_if $done
      global.get $reply
      call $qjs_free_value
      br $more
    end
  end
  global.get $reply
  global.get $scratch
  call $qjs_get_array_buffer
  i64.extend_i32_u
  i64.const 32
  i64.shl
  global.get $scratch
  i64.load32_u
  i64.or)
