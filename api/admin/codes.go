package admin

// Category groups codes; the command line's exit status follows from it.
type Category string

const (
	Usage       Category = "usage"       // called wrongly; exit 2
	Invalid     Category = "invalid"     // a value is refused; exit 1
	NotFound    Category = "not_found"   // exit 3
	Conflict    Category = "conflict"    // exists already, in use, changed meanwhile; exit 4
	Unreachable Category = "unreachable" // no server answers; exit 5
	TimedOut    Category = "timeout"     // exit 6
	Unavailable Category = "unavailable" // the server cannot do it now; exit 1
	Failed      Category = "failed"      // what was asked for went wrong; exit 1
	Internal    Category = "internal"    // a bug of wasmill; exit 1
)

// Action is something to do about an error.
type Action struct {
	Text    string `json:"text"`
	Command string `json:"command,omitempty"`
}

// Code is one stable error code: scripts branch on its ID, never on a text.
// An ID is never given a new meaning, nor used again when it is retired.
type Code struct {
	ID        string
	Category  Category
	Status    int // of the HTTP answer; 0: never on the wire
	Retryable bool
	Title     string
	Explain   string // what it means and what usually causes it
	Actions   []Action
}

// The codes, by what they are about: 1 calls, 2 streams, 3 functions, 4
// triggers, 5 dead letters, 6 the server, 7 projects, 8 faults, 9 bugs.
const (
	CodeUsage        = "WM1001"
	CodeBadRequest   = "WM1002"
	CodeTooLarge     = "WM1003"
	CodeNoSuchPath   = "WM1004"
	CodeConfirm      = "WM1005"
	CodeUnreachable  = "WM1006"
	CodeWaitExpired  = "WM1007"
	CodeInterrupted  = "WM1008"
	CodeForeign      = "WM1009"
	CodeResetRefused = "WM1010"
	CodeUnknownCode  = "WM1011"
	CodeInput        = "WM1012"
	CodeVersion      = "WM1013"
	CodeForeignHost  = "WM1014"
	CodeForPeople    = "WM1015"

	CodeStreamNotFound = "WM2001"
	CodeStreamExists   = "WM2002"
	CodeStreamInvalid  = "WM2003"
	CodeShardNotFound  = "WM2004"
	CodeShardClosed    = "WM2005"
	CodeCorrupt        = "WM2006"
	CodePutPartly      = "WM2007"
	CodeStreamInUse    = "WM2008"
	CodeStreamFull     = "WM2009"
	CodeStreamBusy     = "WM2010"

	CodeFunctionNotFound = "WM3001"
	CodeFunctionExists   = "WM3002"
	CodeFunctionInvalid  = "WM3003"
	CodeCodeRefused      = "WM3004"
	CodeBuildFailed      = "WM3005"
	CodeFunctionFailed   = "WM3006"
	CodeFunctionTimeout  = "WM3007"
	CodeThrottled        = "WM3008"
	CodeRunFailed        = "WM3009"
	CodeFunctionInUse    = "WM3010"
	CodeFunctionBusy     = "WM3011"

	CodeTriggerNotFound = "WM4001"
	CodeTriggerExists   = "WM4002"
	CodeTriggerInvalid  = "WM4003"
	CodeTriggerStopped  = "WM4004"
	CodeTriggerBusy     = "WM4005"
	CodeTriggerLeaving  = "WM4006"

	CodeLetterNotFound = "WM5001"
	CodeRedriveFailed  = "WM5002"

	CodeUnavailable  = "WM6001"
	CodeLocked       = "WM6002"
	CodeDataDir      = "WM6003"
	CodeAddressInUse = "WM6004"
	CodeNoNATS       = "WM6005"
	CodeStartFailed  = "WM6006"
	CodeStopping     = "WM6007"
	CodeUnhealthy    = "WM6008"

	CodeProjectInvalid = "WM7001"
	CodeNoProject      = "WM7002"
	CodeProjectExists  = "WM7003"
	CodeDeployRefused  = "WM7004"

	CodeFaultNotFound = "WM8001"
	CodeFaultInvalid  = "WM8002"

	CodeInternal = "WM9001"
)

// Codes are all of them, ascending. `wasmill explain` and docs/errors.md are
// made of it.
var Codes = []Code{
	{CodeUsage, Usage, 0, false, "Called wrongly",
		"The command, a flag or an argument is not one wasmill knows, is missing, or cannot be read. Nothing was done.",
		[]Action{{"see how the command is called", "wasmill help"}}},
	{CodeBadRequest, Invalid, 400, false, "Malformed request",
		"The body or a parameter of an HTTP call is not what the path takes: not JSON, an unknown field, a value of the wrong kind. Unknown fields are refused so that a misspelt one is never silently ignored.",
		[]Action{{"compare the request with the API's documentation in package api/admin", ""}}},
	{CodeTooLarge, Invalid, 413, false, "Request too large",
		"The body exceeds what its path takes: 6 MiB for an invocation's payload, 256 MiB for a module, 10 MiB of records in one put, 1 MiB for everything else.",
		[]Action{{"send it in smaller parts", ""}}},
	{CodeNoSuchPath, Usage, 404, false, "Nothing is served here",
		"No API answers to that method and path. The command and the server may be of different versions, or the endpoint points at another program.",
		[]Action{{"compare the versions of command and server", "wasmill version"}}},
	{CodeConfirm, Usage, 0, false, "Confirmation required",
		"The command deletes something for good and asks first, but there is no terminal to ask on. Scripts say --yes.",
		[]Action{{"repeat the command with --yes", ""}}},
	{CodeUnreachable, Unreachable, 0, true, "No server answers",
		"Nothing answers at the endpoint. The endpoint comes from --endpoint, else WASMILL_ENDPOINT, else AWS_ENDPOINT_URL, else the server running on the directory WASMILL_DATA, else the one on the default data directory, else http://127.0.0.1:4566. Where WASMILL_DATA is set and no server runs there, no other is asked.",
		[]Action{{"start a server", "wasmill up --detach"}, {"see which endpoint is used, and why", "wasmill env"}}},
	{CodeWaitExpired, TimedOut, 408, true, "The wait ended before it was true",
		"What was waited for did not happen within --timeout. Nothing was changed or cancelled: the work goes on.",
		[]Action{{"wait longer with a larger --timeout", ""}}},
	{CodeInterrupted, Failed, 0, true, "Interrupted",
		"The command was stopped by a signal. What it had already asked of the server is done and stays. A put of many records says how many are stored, and which are not.",
		[]Action{{"run it again", ""}}},
	{CodeForeign, Invalid, 403, false, "Web pages may not call this API",
		"The request came from a web browser, out of a page of another origin. The API has no password, so a page of any site could otherwise use it through your browser.",
		[]Action{{"call the API from a program, or open it under localhost", ""}}},
	{CodeResetRefused, Invalid, 403, false, "Reset is not allowed",
		"POST /_wasmill/reset deletes every stream, function, trigger and dead letter. It is open only on a server started with --memory or --allow-reset.",
		[]Action{{"start the server so that tests may reset it", "wasmill up --memory"}}},
	{CodeUnknownCode, NotFound, 0, false, "No such error code",
		"`wasmill explain` knows codes of the form WM1234. Without a code it lists all of them.",
		[]Action{{"list all codes", "wasmill explain"}}},
	{CodeInput, Invalid, 0, false, "Input cannot be used",
		"A file or standard input cannot be read, a file cannot be written, or a line cannot be a record: it is larger than the stream takes, is not JSON, or lacks the field the partition key is taken from. A put refuses such lines and stores the others.",
		[]Action{{"correct what the message names, then run the command again", ""}}},
	{CodeVersion, Failed, 0, false, "The answer cannot be understood",
		"Something answers at the endpoint, but not as a wasmill server of this API version does.",
		[]Action{{"see which endpoint is used, and why", "wasmill env"}, {"compare the versions of command and server", "wasmill version"}}},
	{CodeForeignHost, Invalid, 403, false, "The server is not to be called by that name",
		"The Host of the request is neither a name of this machine (an address like 127.0.0.1, localhost, host.docker.internal, localhost.localstack.cloud) nor one the server was told of. The API has no password, and a web page could have its own name resolve to this machine to reach it through your browser. A server that listens on an address of a network also takes IP addresses. Other names, of a container for instance, are given with --allow-host or, separated by commas, in WASMILL_ALLOW_HOST.",
		[]Action{{"allow the name, if it is yours", "wasmill up --allow-host NAME"}, {"or call the server under localhost or an IP address", ""}}},
	{CodeForPeople, Invalid, 403, false, "Functions may not call this API",
		"A function reaches the server's endpoint for the AWS APIs that it serves. This API has no password, and who may call it may change any function, its own allow list included.",
		[]Action{{"emit records by what the function returns", "wasmill fn update NAME --emit STREAM"}}},

	{CodeStreamNotFound, NotFound, 404, false, "No such stream",
		"No stream bears that name. A stream that was deleted and created again is another one and starts empty.",
		[]Action{{"list the streams", "wasmill stream ls"}, {"create it", "wasmill stream create NAME"}}},
	{CodeStreamExists, Conflict, 409, false, "The stream exists",
		"A stream of that name exists already and is left as it is.",
		[]Action{{"look at it", "wasmill stream get NAME"}, {"accept it as it is: add --if-not-exists", ""}}},
	{CodeStreamInvalid, Invalid, 400, false, "A value is out of range",
		"A name, setting, key or record is outside of what a stream takes. Names have 1 to 128 of a-z A-Z 0-9 _ . -; a stream has 1 to 10,000 shards and keeps records for 24 h to 8,760 h; a partition key has 1 to 256 characters; a record with its key has at most 1 MiB unless the stream is configured for more; a put takes 1 to 500 records of 10 MiB together; only open shards split, and only open neighbours merge.",
		[]Action{{"correct the value named in the message", ""}, {"see which shards a stream has", "wasmill shard ls NAME"}}},
	{CodeShardNotFound, NotFound, 404, false, "No such shard",
		"The stream exists but has no shard of that id. Shard ids look like shardId-000000000000.",
		[]Action{{"list the stream's shards", "wasmill shard ls NAME"}}},
	{CodeShardClosed, Conflict, 409, true, "The shard is closed",
		"The shard takes no more records, because it was split or merged while the call was under way.",
		[]Action{{"put the record again: it goes to the shard that owns its key now", ""}}},
	{CodeCorrupt, Failed, 500, false, "Stored data is damaged",
		"Records on disk are not as they were written: their checksum does not match. Reading stops there and says where; what lies behind is untouched. A trigger that reaches the place stops that shard and shows a problem.",
		[]Action{{"check the disk and restore a copy of the data directory", ""}, {"let a trigger pass the damaged records, counted as a gap", "wasmill trigger update NAME --skip-corrupt"}}},
	{CodePutPartly, Failed, 0, false, "Not all records were put",
		"A put stores each record on its own. Those counted as put are in the stream. Those counted as refused are not. Those counted as unknown were sent and no answer came: they may be in the stream or not. Those never attempted were read and not sent. With --json, error.details.put has the counts and the first 100 line numbers of each but the first.",
		[]Action{{"put the lines that were refused or never attempted again, once the cause is gone", ""}, {"put unknown ones again only where a record that is stored twice does no harm", ""}}},
	{CodeStreamInUse, Conflict, 409, false, "The stream is in use",
		"A trigger reads the stream, and could never go on without it; or one tells it of discarded batches (--on-failure), and these notices would wait.",
		[]Action{{"see which", "wasmill trigger ls"}, {"delete the trigger first", "wasmill trigger rm NAME"}, {"delete the stream all the same: add --force", ""}}},
	{CodeStreamFull, Unavailable, 503, true, "The stream has reached its quota",
		"The stream holds as many bytes of records as it may (--max-bytes). The record is not stored; it can be put again once older records have expired or the quota is raised. Reading goes on, and so do triggers; outputs that functions emit to the stream wait, and nothing of them is lost.",
		[]Action{{"see what it holds", "wasmill stream get NAME"}, {"raise the quota", "wasmill stream update NAME --max-bytes 10GB"}, {"or, where records are kept for longer than 24h, keep them for a shorter time", "wasmill stream update NAME --retention 24h"}}},
	{CodeStreamBusy, Conflict, 409, true, "The stream is being changed",
		"The stream's shards are being split or merged, or it is being created or deleted. Records can be put and read meanwhile; another such change has to wait.",
		[]Action{{"see its state, and try again when it is ACTIVE", "wasmill stream get NAME"}}},

	{CodeFunctionNotFound, NotFound, 404, false, "No such function",
		"No function, or no version of it, bears that name.",
		[]Action{{"list the functions", "wasmill fn ls"}, {"create it", "wasmill fn create NAME FILE.wasm|DIR"}}},
	{CodeFunctionExists, Conflict, 409, false, "The function exists",
		"A function of that name exists already and is left as it is.",
		[]Action{{"give it new code", "wasmill fn update NAME FILE.wasm|DIR"}}},
	{CodeFunctionInvalid, Invalid, 400, false, "A setting is out of range",
		"A function's name or setting is outside of what is allowed: timeout 1 s to 900 s in whole seconds, memory 128 to 10,240 MB, environment 4 KB in all, description 256 characters, name 1 to 64 of a-z A-Z 0-9 _ -.",
		[]Action{{"correct the value named in the message", ""}}},
	{CodeCodeRefused, Invalid, 422, false, "The module cannot run here",
		"The file is not a WebAssembly module, is a component instead of a core module, exports none of the three ways of being called (docs/abi.md: wm_batch, wm_json, or a WASI command), imports what wasmill does not offer, or does not compile.",
		[]Action{{"build a project into a module that runs here", "wasmill build DIR"}}},
	{CodeBuildFailed, Failed, 0, false, "The build failed",
		"The folder could not be built into a module. The message holds what the compiler or wasmill found: no compiler of its language and what to install, code that does not compile, or a handler type that is not supported.",
		[]Action{{"correct what the message names, then build again", "wasmill build DIR"}}},
	{CodeFunctionFailed, Failed, 0, false, "The function failed",
		"The function ran and returned an error, panicked, trapped, exited, or answered what is not JSON. In a trigger this counts as an attempt.",
		[]Action{{"read what it wrote", "wasmill fn logs NAME"}}},
	{CodeFunctionTimeout, TimedOut, 0, false, "The function ran out of time",
		"The function had not answered when its timeout passed. In a trigger this counts as an attempt.",
		[]Action{{"read what it wrote", "wasmill fn logs NAME"}, {"give it more time", "wasmill fn update NAME --timeout 30s"}}},
	{CodeThrottled, Unavailable, 0, true, "No environment was free",
		"As many invocations run as are allowed at once. The function saw nothing; in a trigger this costs no attempt.",
		[]Action{{"call again in a moment", ""}}},
	{CodeRunFailed, Unavailable, 0, true, "wasmill could not run the function",
		"The invocation failed for a reason that is not the function's. In a trigger this costs no attempt.",
		[]Action{{"call again; if it stays, read the server's log", ""}}},
	{CodeFunctionInUse, Conflict, 409, false, "The function is in use",
		"A trigger calls the function, or an alias names the version that was to be deleted.",
		[]Action{{"see which", "wasmill trigger ls"}, {"delete the trigger first", "wasmill trigger rm NAME"}}},
	{CodeFunctionBusy, Conflict, 409, true, "The function is being changed",
		"New code of the function is being compiled, or the function was changed since the caller looked at it. The code that it had goes on running meanwhile; another change has to wait. A function whose first code cannot run is not published.",
		[]Action{{"see its state, and try again when the update is done", "wasmill fn get NAME"}}},

	{CodeTriggerNotFound, NotFound, 404, false, "No such trigger",
		"No trigger bears that name.",
		[]Action{{"list the triggers", "wasmill trigger ls"}}},
	{CodeTriggerExists, Conflict, 409, false, "The trigger exists",
		"A trigger of that name exists already, or another one joins the same stream and function.",
		[]Action{{"list the triggers", "wasmill trigger ls"}, {"change it", "wasmill trigger update NAME"}}},
	{CodeTriggerInvalid, Invalid, 400, false, "A setting is out of range",
		"A trigger's setting is outside of what is allowed: batch size 1 to 10,000, window 0 to 300 s, parallel 1 to 10, retries -1 (for ever) to 10,000, record age 60 s to 604,800 s or none, back-off 1 ms to 60 s, tumbling window 0 to 900 s with parallel 1, at most 10 filters. Or a filter's pattern is not sound, or the destination of notices is not there.",
		[]Action{{"correct the value named in the message", ""}}},
	{CodeTriggerStopped, Failed, 409, false, "The trigger does not go on by itself",
		"The trigger is paused, or one of its shards has stopped with a problem, so that what was waited for cannot happen.",
		[]Action{{"see its shards and their problems", "wasmill trigger get NAME"}, {"let it run", "wasmill trigger resume NAME"}}},

	{CodeTriggerBusy, Conflict, 409, true, "The trigger is busy with another call",
		"Another call is changing the trigger, or redriving its dead letters. Calls about one trigger go one after the other, so that none undoes what another does.",
		[]Action{{"try again when the other call is through", "wasmill trigger get NAME"}}},

	{CodeTriggerLeaving, TimedOut, 408, true, "The trigger goes when its outputs have arrived",
		"The trigger is deleted as far as it can be: it runs no more, and its name is taken until what its function has emitted is where it belongs. A stream that is full keeps it waiting; outputs of a stream that is deleted become dead letters.",
		[]Action{{"make room in the stream that the message names", "wasmill stream update STREAM --max-bytes SIZE"}, {"see whether it is gone", "wasmill trigger ls"}}},

	{CodeLetterNotFound, NotFound, 404, false, "No such dead letter",
		"No dead letter bears that id: it was purged, or is older than the 14 days that dead letters are kept.",
		[]Action{{"list the dead letters", "wasmill dlq ls"}}},

	{CodeRedriveFailed, Failed, 0, false, "Dead letters failed again",
		"Some of the dead letters that were redriven used up their fresh quota of retries and are buried again, under new ids, or could not be delivered at all. Those that succeeded are dead letters no more. Nothing is lost.",
		[]Action{{"list the dead letters", "wasmill dlq ls"}, {"try another build on one, without any effect", "wasmill dlq replay ID --against DIR"}}},

	{CodeUnavailable, Unavailable, 503, true, "The server cannot write now",
		"The disk is full or has reached the reserve that is kept free (--disk-reserve), the data directory or the memory has reached its limit (--max-disk, --max-memory), or the store is being restarted. Nothing of the call was stored. Reading goes on; writing resumes by itself once there is room.",
		[]Action{{"make room: on the disk of the data directory, or below the limit by deleting streams or shortening their retention", ""}, {"see the reserve and the space left", "curl -s $WASMILL_ENDPOINT/_wasmill/health"}}},
	{CodeLocked, Conflict, 0, false, "The data directory is in use",
		"A wasmill server has the data directory open already. Two servers on one directory would destroy it, so the second is refused.",
		[]Action{{"use that server, or stop it", "wasmill down"}, {"or use another directory", "wasmill up --data DIR"}}},
	{CodeDataDir, Failed, 0, false, "The data directory cannot be opened",
		"The directory was written by a newer wasmill, in a format this version does not know, or it holds other things and was never a data directory. Nothing in it was touched.",
		[]Action{{"use another directory, or the newer version", "wasmill up --data DIR"}}},
	{CodeAddressInUse, Conflict, 0, false, "The address is in use",
		"Another program listens on the address already: another wasmill, LocalStack, or anything else.",
		[]Action{{"listen on a port that is free", "wasmill up --listen :0"}}},
	{CodeNoNATS, Usage, 0, false, "A NATS cluster cannot be used yet",
		"A user outgrows one machine by pointing the same binary at a NATS JetStream cluster. That comes in a later version; until then wasmill runs on its embedded store only.",
		[]Action{{"run on the embedded store", "wasmill up --data DIR"}}},
	{CodeStartFailed, Failed, 0, false, "The server did not start",
		"The server ended, or did not answer, while it was starting. The message holds the last lines of its log.",
		[]Action{{"start it in the foreground to see everything it says", "wasmill up"}}},
	{CodeStopping, Unavailable, 503, true, "The server is stopping",
		"The server is being shut down and takes nothing new.",
		[]Action{{"start it again", "wasmill up --detach"}}},
	{CodeUnhealthy, Unavailable, 503, true, "The server cannot serve",
		"The server runs, but its store does not answer. It restores itself when it can.",
		[]Action{{"read the server's log", ""}}},

	{CodeProjectInvalid, Invalid, 0, false, "wasmill.toml cannot be used",
		"The file is no TOML, has a setting that there is not, or a value that is out of range. All faults are named with line and column. Unknown settings are refused so that a misspelt one is never silently ignored. A variable ${NAME} that is not set where the command runs is a fault too.",
		[]Action{{"correct the lines named in the message, then run it again", ""}}},
	{CodeNoProject, NotFound, 0, false, "There is no wasmill.toml",
		"The folder has no wasmill.toml, which says what is to be deployed: a function, the triggers that call it, and settings of streams.",
		[]Action{{"write one", "wasmill init DIR"}}},
	{CodeProjectExists, Conflict, 0, false, "There is a wasmill.toml already",
		"`wasmill init` writes a new file and never over one that is there.",
		[]Action{{"see what it would change on the server", "wasmill diff DIR"}}},
	{CodeDeployRefused, Conflict, 0, false, "The server has what stands in the way",
		"A deployment changes nothing that is not its own, and no trigger's stream or starting place, which would lose its checkpoint. Where the server has something that cannot be brought in line without that, nothing is done, and the message says what there is and which command is the way on.",
		[]Action{{"see the whole difference", "wasmill diff DIR"}}},

	{CodeFaultNotFound, NotFound, 404, false, "No such fault",
		"No fault that is injected into AWS calls has that id. Faults live in the server's memory: after a restart there are none.",
		[]Action{{"list the faults", "wasmill fault ls"}}},
	{CodeFaultInvalid, Invalid, 400, false, "A fault cannot be injected so",
		"A fault hits one operation that is served (PutRecords, GetRecords, …): above 0 % to 100 % of its calls are answered with an error, or delayed by at most 5 minutes, or both. Single records fail in PutRecords only, and cannot be delayed. There are at most 1,000 faults.",
		[]Action{{"correct the value named in the message", ""}, {"see what there is to say", "wasmill fault add --help"}}},

	{CodeInternal, Internal, 500, false, "A bug of wasmill",
		"Something happened that wasmill has no better word for. Please report it with the message and the server's log.",
		[]Action{{"report it with the message and the server's log", ""}}},
}

// Lookup finds a code by its ID.
func Lookup(id string) (Code, bool) {
	for _, c := range Codes {
		if c.ID == id {
			return c, true
		}
	}
	return Code{}, false
}
