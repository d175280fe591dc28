package lambda

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/functions"
)

// configuration is how AWS shows a version. What is absent there for a function as it may
// be here is absent here.
type configuration struct {
	FunctionName         string
	FunctionArn          string
	Runtime              string
	Role                 string
	Handler              string
	CodeSize             int64
	Description          string
	Timeout              int
	MemorySize           int
	LastModified         string
	CodeSha256           string
	Version              string
	VpcConfig            *vpcConfig   `json:",omitempty"`
	DeadLetterConfig     *deadLetter  `json:",omitempty"`
	Environment          *environment `json:",omitempty"`
	KMSKeyArn            string       `json:",omitempty"`
	TracingConfig        tracing
	RevisionId           string
	State                string `json:",omitempty"`
	StateReason          string `json:",omitempty"`
	StateReasonCode      string `json:",omitempty"`
	LastUpdateStatus     string `json:",omitempty"`
	LastUpdateReason     string `json:"LastUpdateStatusReason,omitempty"`
	LastUpdateReasonCode string `json:"LastUpdateStatusReasonCode,omitempty"`
	PackageType          string
	Architectures        []string
	EphemeralStorage     ephemeral
	SnapStart            snapStart
	RuntimeVersionConfig *runtimeVersion `json:",omitempty"`
	LoggingConfig        logging
}

type (
	vpcConfig struct {
		SubnetIds, SecurityGroupIds []string
		VpcId                       string
		Ipv6AllowedForDualStack     bool
	}
	deadLetter     struct{ TargetArn string }
	environment    struct{ Variables map[string]string }
	tracing        struct{ Mode string }
	ephemeral      struct{ Size int }
	snapStart      struct{ ApplyOn, OptimizationStatus string }
	runtimeVersion struct{ RuntimeVersionArn string }
	logging        struct {
		LogFormat           string
		ApplicationLogLevel string `json:",omitempty"`
		SystemLogLevel      string `json:",omitempty"`
		LogGroup            string
	}
)

// What is shown of functions that no AWS client has made.
const (
	ourRuntime = "provided.al2023"
	ourHandler = "bootstrap"
)

// runtimeID stands for the version of a runtime that nobody chooses here.
const runtimeID = "0000000000000000000000000000000000000000000000000000000000000000"

// why is AWS's word for what a reason is about.
func why(pending bool) string {
	if pending {
		return "Creating"
	}
	return "InvalidZipFileException"
}

// show is v as c's caller sees it; qualifier is what its ARN ends with, "" for nothing.
// Functions see no environments but their own: secrets of others are in them.
func (s *service) show(c *wire.Call, v functions.Version, qualifier string) configuration {
	d, uploaded := v.Config.Declared, v.Code.Uploaded()
	out := configuration{
		FunctionName: v.Function, FunctionArn: ref{v.Function, qualifier}.arn(c), Version: v.Version,
		Runtime: cmp.Or(d.Runtime, ourRuntime), Role: cmp.Or(d.Role, "arn:aws:iam::"+c.Account+":role/wasmill"), Handler: cmp.Or(d.Handler, ourHandler),
		CodeSize: uploaded.Size, CodeSha256: digest(uploaded.SHA256), Description: v.Config.Description,
		Timeout: int(v.Config.Timeout / time.Second), MemorySize: v.Config.Memory, LastModified: stamp(v.Modified), RevisionId: v.RevisionID,
		KMSKeyArn: d.KMSKey, TracingConfig: tracing{cmp.Or(d.Tracing, "PassThrough")}, PackageType: "Zip",
		EphemeralStorage: ephemeral{cmp.Or(d.Ephemeral, 512)}, SnapStart: snapStart{cmp.Or(d.SnapStart, "None"), "Off"},
		RuntimeVersionConfig: &runtimeVersion{"arn:aws:lambda:" + c.Region + "::runtime:" + runtimeID},
		LoggingConfig:        logging{cmp.Or(d.LogFormat, "Text"), d.ApplicationLog, d.SystemLog, cmp.Or(d.LogGroup, "/aws/lambda/"+v.Function)},
		Architectures:        d.Architectures,
		State:                string(cmp.Or(v.State, functions.Active)), LastUpdateStatus: string(v.Update),
	}
	if out.Architectures == nil {
		out.Architectures = []string{"x86_64"}
	}
	if d.SnapStart == "PublishedVersions" && v.Version != functions.Unpublished {
		out.SnapStart.OptimizationStatus = "On"
	}
	if d.Subnets != nil || d.SecurityGroups != nil {
		out.VpcConfig = &vpcConfig{notNil(d.Subnets), notNil(d.SecurityGroups), "", d.IPv6}
	}
	if d.DeadLetter != "" {
		out.DeadLetterConfig = &deadLetter{d.DeadLetter}
	}
	if len(v.Config.Environment) > 0 && (!s.Inner || c.Function == v.Function) {
		out.Environment = &environment{v.Config.Environment}
	}
	if v.State == functions.Pending || v.State == functions.Failed {
		out.StateReason, out.StateReasonCode = v.Reason, why(v.State == functions.Pending)
	}
	if v.Update == functions.UpdateInProgress || v.Update == functions.UpdateFailed {
		out.LastUpdateReason, out.LastUpdateReasonCode = v.UpdateReason, why(v.Update == functions.UpdateInProgress)
	}
	return out
}

// brief is what lists show: without what may change while nobody looks.
func (o configuration) brief() configuration {
	o.State, o.StateReason, o.StateReasonCode, o.LastUpdateStatus, o.LastUpdateReason, o.LastUpdateReasonCode = "", "", "", "", "", ""
	o.RuntimeVersionConfig = nil
	return o
}

// digest is a hex digest as AWS writes it.
func digest(hexadecimal string) string {
	raw, _ := hex.DecodeString(hexadecimal)
	return base64.StdEncoding.EncodeToString(raw)
}

// stamp is a time as Lambda writes it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000") + "+0000" }

func notNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// configure changes c as a request's members say; what is not among them stays.
func configure(c *functions.Config, in wire.Values) error {
	if err := refuse(in); err != nil {
		return err
	}
	d := &c.Declared
	take(in, "Role", &d.Role)
	take(in, "Runtime", &d.Runtime)
	take(in, "Handler", &d.Handler)
	take(in, "Description", &c.Description)
	take(in, "KMSKeyArn", &d.KMSKey)
	if in.Has("Timeout") {
		c.Timeout = time.Duration(in.Int("Timeout")) * time.Second
	}
	if in.Has("MemorySize") {
		c.Memory = int(in.Int("MemorySize"))
	}
	if in.Has("Environment") {
		vars, err := variables(in.Map("Environment").Map("Variables"))
		if err != nil {
			return err
		}
		c.Environment = vars
	}
	if in.Has("VpcConfig") {
		vpc := in.Map("VpcConfig")
		d.Subnets, d.SecurityGroups, d.IPv6 = vpc.Strings("SubnetIds"), vpc.Strings("SecurityGroupIds"), vpc.Bool("Ipv6AllowedForDualStack")
	}
	take(in.Map("DeadLetterConfig"), "TargetArn", &d.DeadLetter)
	take(in.Map("TracingConfig"), "Mode", &d.Tracing)
	take(in.Map("SnapStart"), "ApplyOn", &d.SnapStart)
	if in.Has("EphemeralStorage") {
		d.Ephemeral = int(in.Map("EphemeralStorage").Int("Size"))
	}
	if in.Has("Architectures") {
		d.Architectures = in.Strings("Architectures")
	}
	if in.Has("LoggingConfig") {
		return configureLogs(d, in.Map("LoggingConfig"))
	}
	return nil
}

func take(in wire.Values, name string, to *string) {
	if in.Has(name) {
		*to = in.String(name)
	}
}

// configureLogs takes a LoggingConfig: levels are those of JSON logs, and INFO unless they
// are given.
func configureLogs(d *functions.Declared, in wire.Values) error {
	take(in, "LogFormat", &d.LogFormat)
	take(in, "LogGroup", &d.LogGroup)
	if d.LogFormat != "JSON" {
		if in.Has("ApplicationLogLevel") || in.Has("SystemLogLevel") {
			return invalid("ApplicationLogLevel and SystemLogLevel can be set only if LogFormat is JSON.")
		}
		d.ApplicationLog, d.SystemLog = "", ""
		return nil
	}
	take(in, "ApplicationLogLevel", &d.ApplicationLog)
	take(in, "SystemLogLevel", &d.SystemLog)
	d.ApplicationLog, d.SystemLog = cmp.Or(d.ApplicationLog, "INFO"), cmp.Or(d.SystemLog, "INFO")
	return nil
}

// variables are an environment, refused as AWS does. The rest, reserved names among them, is
// the registry's to check.
func variables(in wire.Values) (map[string]string, error) {
	vars := make(map[string]string, len(in))
	size := 0
	for name := range in {
		vars[name] = in.String(name)
		size += len(name) + len(vars[name])
	}
	if size > functions.MaxEnvironment {
		measured, _ := json.Marshal(vars)
		return nil, invalid("Lambda was unable to configure your environment variables because the environment variables you have provided exceeded the 4KB limit. String measured: %s", measured)
	}
	var taken []string
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if functions.Reserved(name) {
			taken = append(taken, name)
		}
	}
	if taken != nil {
		return nil, invalid("Lambda was unable to configure your environment variables because the environment variables you have provided contains reserved keys that are currently not supported for modification. Reserved keys used in this request: %s", strings.Join(taken, ", "))
	}
	return vars, nil
}

// refuse says what to do instead of what functions here have not.
func refuse(in wire.Values) error {
	if in.Has("MemorySize") && in.Int("MemorySize") > functions.MaxMemory {
		return invalid("'MemorySize' value failed to satisfy constraint: Member must have value less than or equal to %d", functions.MaxMemory)
	}
	if name := in.String("Runtime"); in.Has("Runtime") && !slices.Contains(runtimes, name) {
		return invalid("Value %s at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [%s] or be a valid ARN", name, strings.Join(runtimes, ", "))
	}
	for _, no := range []struct {
		given bool
		text  string
	}{
		{in.String("PackageType") == "Image" || in.Has("ImageConfig") || in.Map("Code").Has("ImageUri"), "Container images do not run here: build the function to WebAssembly (WASI) and upload the .wasm file, or a zip that holds it, as ZipFile."},
		{len(in.List("Layers")) > 0, "There are no layers here: put what the function needs into its module."},
		{len(in.List("FileSystemConfigs")) > 0, "There are no file systems to mount here: keep what the function reads in its module, or dial a service that has it (tag wasmill:allow)."},
		{in.String("CodeSigningConfigArn") != "", "Code is not signed here: leave out CodeSigningConfigArn."},
		{in.Has("CapacityProviderConfig") || in.Has("PublishTo"), "There are no capacity providers here: leave out CapacityProviderConfig and PublishTo."},
		{in.Has("DurableConfig"), "There are no durable functions here: leave out DurableConfig."},
		{in.Has("TenancyConfig"), "There are no tenants here: leave out TenancyConfig, or use the tag wasmill:isolation=invocation, which gives each invocation a memory of its own."},
	} {
		if no.given {
			return invalid("%s", no.text)
		}
	}
	return nil
}
