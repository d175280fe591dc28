package module

const (
	i32 = "\x7f"
	i64 = "\x7e"

	// WASIModule is what WASI preview 1 is imported from.
	WASIModule = "wasi_snapshot_preview1"
)

// Imports are the functions that a guest may import from [Host]. See docs/abi.md
// and docs/door.md.
var Imports = map[string]Signature{
	"open":      {i32 + i32 + i32, i32}, // kind, request, its length: descriptor
	"error":     {i32 + i32 + i32, i32}, // descriptor, buffer, its capacity: length
	"http":      {i32 + i32, i32},       // request, its length: length of the response
	"http_read": {i32 + i32, i32},       // buffer, its capacity: bytes read
	"log":       {i32 + i32 + i32, ""},  // level, line, its length
}

// WASI are the functions of WASI preview 1, from
// https://github.com/WebAssembly/WASI/blob/snapshot-01/phases/snapshot/docs.md.
var WASI = map[string]Signature{
	"args_get":                {i32 + i32, i32},
	"args_sizes_get":          {i32 + i32, i32},
	"clock_res_get":           {i32 + i32, i32},
	"clock_time_get":          {i32 + i64 + i32, i32},
	"environ_get":             {i32 + i32, i32},
	"environ_sizes_get":       {i32 + i32, i32},
	"fd_advise":               {i32 + i64 + i64 + i32, i32},
	"fd_allocate":             {i32 + i64 + i64, i32},
	"fd_close":                {i32, i32},
	"fd_datasync":             {i32, i32},
	"fd_fdstat_get":           {i32 + i32, i32},
	"fd_fdstat_set_flags":     {i32 + i32, i32},
	"fd_fdstat_set_rights":    {i32 + i64 + i64, i32},
	"fd_filestat_get":         {i32 + i32, i32},
	"fd_filestat_set_size":    {i32 + i64, i32},
	"fd_filestat_set_times":   {i32 + i64 + i64 + i32, i32},
	"fd_pread":                {i32 + i32 + i32 + i64 + i32, i32},
	"fd_prestat_dir_name":     {i32 + i32 + i32, i32},
	"fd_prestat_get":          {i32 + i32, i32},
	"fd_pwrite":               {i32 + i32 + i32 + i64 + i32, i32},
	"fd_read":                 {i32 + i32 + i32 + i32, i32},
	"fd_readdir":              {i32 + i32 + i32 + i64 + i32, i32},
	"fd_renumber":             {i32 + i32, i32},
	"fd_seek":                 {i32 + i64 + i32 + i32, i32},
	"fd_sync":                 {i32, i32},
	"fd_tell":                 {i32 + i32, i32},
	"fd_write":                {i32 + i32 + i32 + i32, i32},
	"path_create_directory":   {i32 + i32 + i32, i32},
	"path_filestat_get":       {i32 + i32 + i32 + i32 + i32, i32},
	"path_filestat_set_times": {i32 + i32 + i32 + i32 + i64 + i64 + i32, i32},
	"path_link":               {i32 + i32 + i32 + i32 + i32 + i32 + i32, i32},
	"path_open":               {i32 + i32 + i32 + i32 + i32 + i64 + i64 + i32 + i32, i32},
	"path_readlink":           {i32 + i32 + i32 + i32 + i32 + i32, i32},
	"path_remove_directory":   {i32 + i32 + i32, i32},
	"path_rename":             {i32 + i32 + i32 + i32 + i32 + i32, i32},
	"path_symlink":            {i32 + i32 + i32 + i32 + i32, i32},
	"path_unlink_file":        {i32 + i32 + i32, i32},
	"poll_oneoff":             {i32 + i32 + i32 + i32, i32},
	"proc_exit":               {i32, ""},
	"proc_raise":              {i32, i32},
	"random_get":              {i32 + i32, i32},
	"sched_yield":             {"", i32},
	"sock_accept":             {i32 + i32 + i32, i32},
	"sock_recv":               {i32 + i32 + i32 + i32 + i32 + i32, i32},
	"sock_send":               {i32 + i32 + i32 + i32 + i32, i32},
	"sock_shutdown":           {i32 + i32, i32},
}
