package lambda

import "github.com/wasmill/wasmill/api/wire"

// Shapes of functions' settings (botocore 1.43.11, lambda 2015-03-31).
var (
	text         = wire.String(0, 0, "")
	roleShape    = wire.String(0, 0, `arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+`)
	kmsShape     = wire.String(0, 0, `(arn:(aws[a-zA-Z-]*)?:[a-z0-9-.]+:.*)|()`)
	anyARN       = wire.String(0, 0, `arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\-])+:([a-z]{2}(-gov)?-[a-z]+-\d{1})?:(\d{12})?:(.*)`)
	description  = wire.String(0, 256, "")
	handlerShape = wire.String(0, 128, `[^\s]+`)
	tagsShape    = wire.Map(text, text, 0, 0)
	keysShape    = wire.List(text, 0, 0)

	architectures = wire.List(wire.Enum("x86_64", "arm64"), 1, 1)
	publishTo     = wire.Enum("LATEST_PUBLISHED")
	versionShape  = wire.String(1, 1024, `(\$LATEST(\.PUBLISHED)?|[0-9]+)`)
	// Go's regular expressions do not look around.
	aliasShape  = wire.String(1, 128, `(?!^[0-9]+$)([a-zA-Z0-9-_]+)`).Matching(aliasRE)
	bucketShape = wire.String(3, 63, `[0-9A-Za-z\.\-_]*(?<!\.)`).Matching(`([0-9A-Za-z._-]*[0-9A-Za-z_-])?`)

	codeShape = wire.Structure(
		may("ZipFile", wire.Blob(0, 0)),
		may("S3Bucket", bucketShape),
		may("S3Key", wire.String(1, 1024, "")),
		may("S3ObjectVersion", wire.String(1, 1024, "")),
		may("ImageUri", text),
		may("SourceKMSKeyArn", kmsShape),
	)
	destinationShape = wire.Structure(may("Destination", wire.String(0, 350, `$|kafka://([^.]([a-zA-Z0-9\-_.]{0,248}))|arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\-])+:([a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1})?:(\d{12})?:(.*)`)))
	destinations     = wire.Structure(may("OnSuccess", destinationShape), may("OnFailure", destinationShape))
)

// aliasRE is what AWS's patterns of aliases look around for: not a number.
const aliasRE = `[0-9]*[a-zA-Z_-][a-zA-Z0-9_-]*`

// settings are the members that CreateFunction and UpdateFunctionConfiguration share.
var settings = []wire.Member{
	may("Runtime", text), // an enumeration, which AWS words in its own way: see checkRuntime
	may("Handler", handlerShape),
	may("Description", description),
	may("Timeout", wire.Integer(1, 900)),
	may("MemorySize", wire.Integer(128, 32768)),
	may("VpcConfig", wire.Structure(
		may("SubnetIds", wire.List(text, 0, 16)),
		may("SecurityGroupIds", wire.List(text, 0, 5)),
		may("Ipv6AllowedForDualStack", wire.Boolean()),
	)),
	may("DeadLetterConfig", wire.Structure(may("TargetArn", kmsShape))),
	may("Environment", wire.Structure(may("Variables", wire.Map(wire.String(0, 0, `[a-zA-Z]([a-zA-Z0-9_])+`), text, 0, 0)))),
	may("KMSKeyArn", kmsShape),
	may("TracingConfig", wire.Structure(may("Mode", wire.Enum("Active", "PassThrough")))),
	may("Layers", wire.List(wire.String(1, 140, `arn:[a-zA-Z0-9-]+:lambda:[a-zA-Z0-9-]+:\d{12}:layer:[a-zA-Z0-9-_]+:[0-9]+`), 0, 0)),
	may("FileSystemConfigs", wire.List(wire.Structure(
		must("Arn", wire.String(0, 256, `arn:aws[a-zA-Z-]*:elasticfilesystem:[a-z]{2}((-gov)|(-iso(b?)))?-[a-z]+-\d{1}:\d{12}:access-point/fsap-[a-f0-9]{17}$|^arn:aws[-a-z]*:s3files:[0-9a-z-:]+:file-system/fs-[0-9a-f]{17,40}/access-point/fsap-[0-9a-f]{17,40}`)),
		must("LocalMountPath", wire.String(0, 160, `/mnt/[a-zA-Z0-9-_.]+`)),
	), 0, 1)),
	may("ImageConfig", wire.Structure(
		may("EntryPoint", wire.List(text, 0, 1500)),
		may("Command", wire.List(text, 0, 1500)),
		may("WorkingDirectory", wire.String(0, 1000, "")),
	)),
	may("EphemeralStorage", wire.Structure(must("Size", wire.Integer(512, 10240)))),
	may("SnapStart", wire.Structure(may("ApplyOn", wire.Enum("PublishedVersions", "None")))),
	may("LoggingConfig", wire.Structure(
		may("LogFormat", wire.Enum("JSON", "Text")),
		may("ApplicationLogLevel", wire.Enum("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")),
		may("SystemLogLevel", wire.Enum("DEBUG", "INFO", "WARN")),
		may("LogGroup", wire.String(1, 512, `[\.\-_/#A-Za-z0-9]+`)),
	)),
	may("CapacityProviderConfig", wire.Structure(must("LambdaManagedInstancesCapacityProviderConfig", wire.Structure(
		must("CapacityProviderArn", wire.String(1, 140, `arn:aws[a-zA-Z-]*:lambda:[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:capacity-provider:[a-zA-Z0-9-_]+`)),
		may("PerExecutionEnvironmentMaxConcurrency", wire.Integer(1, 1600)),
		may("ExecutionEnvironmentMemoryGiBPerVCpu", wire.Double()),
	)))),
	may("DurableConfig", wire.Structure(
		may("RetentionPeriodInDays", wire.Integer(1, 90)),
		may("ExecutionTimeout", wire.Integer(1, 31_622_400)),
	)),
}

// runtimes are those that AWS knows.
var runtimes = []string{
	"nodejs", "nodejs4.3", "nodejs6.10", "nodejs8.10", "nodejs10.x", "nodejs12.x", "nodejs14.x", "nodejs16.x", "java8", "java8.al2", "java11",
	"python2.7", "python3.6", "python3.7", "python3.8", "python3.9", "dotnetcore1.0", "dotnetcore2.0", "dotnetcore2.1", "dotnetcore3.1", "dotnet6", "dotnet8",
	"nodejs4.3-edge", "go1.x", "ruby2.5", "ruby2.7", "provided", "provided.al2", "nodejs18.x", "python3.10", "java17", "ruby3.2", "ruby3.3", "ruby3.4",
	"python3.11", "nodejs20.x", "provided.al2023", "python3.12", "java21", "python3.13", "nodejs22.x", "nodejs24.x", "python3.14", "java25", "dotnet10", "ruby4.0",
}
