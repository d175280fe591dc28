package lambda

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/functions/archive"
	"github.com/wasmill/wasmill/internal/s3"
)

const (
	// maxRequest is the most bytes of a request with code in it, AWS's own figure: a package of
	// maxPackage bytes in base64, and the rest.
	maxRequest = 70_167_211
	maxPackage = 50 << 20
	// uploadsAtOnce is how many uploads are in memory unpacked: each may have 256 MB.
	uploadsAtOnce = 2
)

var updateCodeInput = wire.Structure(append([]wire.Member{byName,
	may("Publish", wire.Boolean()),
	may("DryRun", wire.Boolean()),
	revision,
	may("Architectures", architectures),
	may("PublishTo", publishTo),
}, codeShape.Members...)...)

func (s *service) updateCode(ctx context.Context, c *wire.Call) (any, error) {
	r, old, err := s.owner(ctx, c)
	if err != nil {
		return nil, err
	}
	if id := c.In.String("RevisionId"); id != "" && id != old.RevisionID {
		return nil, fault(c, r, functions.ErrRevision)
	}
	if c.In.Has("ImageUri") {
		return nil, invalid("Please don't provide ImageUri when updating a function with packageType Zip.")
	}
	if err := refuse(c.In); err != nil {
		return nil, err
	}
	up, done, err := s.upload(ctx, c, c.In)
	if err != nil {
		return nil, err
	}
	defer done()
	v, err := s.Functions.SubmitCode(ctx, r.Name, up, functions.Change{
		Publish: c.In.Bool("Publish"), DryRun: c.In.Bool("DryRun"), RevisionID: c.In.String("RevisionId"), Architectures: c.In.Strings("Architectures"),
	})
	if err != nil {
		return nil, refusedOf(c, old, err)
	}
	out := s.show(c, v, published(v))
	if v.Update == functions.UpdateInProgress { // the old code still runs, but this one is what the function is to have
		given := up.Package
		if given == nil {
			given = packageOf(up.Module)
		}
		out.CodeSha256, out.CodeSize = digest(given.SHA256), given.Size
		if c.In.Has("Architectures") {
			out.Architectures = c.In.Strings("Architectures")
		}
	}
	return out, nil
}

// upload is the code that the members in of a request carry or name, unpacked. It waits
// until there is room for it, and done gives the room back.
func (s *service) upload(ctx context.Context, c *wire.Call, in wire.Values) (up functions.Upload, done func(), err error) {
	select {
	case s.unpacking <- struct{}{}:
	case <-ctx.Done():
		return up, nil, context.Cause(ctx)
	}
	done = func() { <-s.unpacking }
	if up, err = s.unpacked(ctx, c, in); err != nil {
		done()
		return functions.Upload{}, nil, err
	}
	return up, done, nil
}

func (s *service) unpacked(ctx context.Context, c *wire.Call, in wire.Values) (functions.Upload, error) {
	var up functions.Upload
	raw, fromS3 := in.Bytes("ZipFile"), in.Has("S3Bucket") || in.Has("S3Key") || in.Has("S3ObjectVersion")
	switch {
	case in.Has("ZipFile") && fromS3:
		return up, invalid("Please do not provide other FunctionCode parameters when providing a ZipFile.")
	case fromS3:
		var err error
		if raw, err = s.object(ctx, in); err != nil {
			return up, err
		}
	case !in.Has("ZipFile"):
		return up, invalid("Please provide a source for function code.")
	case len(raw) > maxPackage:
		return up, &wire.Error{Code: "RequestEntityTooLargeException", Status: http.StatusRequestEntityTooLarge, Message: "Zipped size must be smaller than 52428800 bytes"}
	}
	if len(raw) == 0 {
		return up, invalid("Uploaded file must be a non-empty zip")
	}
	module, err := archive.Module(raw)
	if err != nil {
		return up, fault(c, ref{}, err)
	}
	up.Module = module
	if archive.Is(raw) {
		up.Package = packageOf(raw)
	}
	return up, nil
}

func packageOf(raw []byte) *functions.Package {
	sum := sha256.Sum256(raw)
	return &functions.Package{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(raw))}
}

// object reads code from S3.
func (s *service) object(ctx context.Context, in wire.Values) ([]byte, error) {
	if !in.Has("S3Bucket") || !in.Has("S3Key") {
		return nil, invalid("Please provide both S3Bucket and S3Key.")
	}
	raw, err := s.Objects.Get(ctx, in.String("S3Bucket"), in.String("S3Key"), in.String("S3ObjectVersion"), functions.MaxCode)
	switch {
	case errors.Is(err, s3.ErrNotFound):
		return nil, invalid("Error occurred while GetObject. S3 Error Code: NoSuchKey. S3 Error Message: The specified key does not exist.")
	case errors.Is(err, s3.ErrNotConfigured):
		return nil, invalid("Error occurred while GetObject. This server knows no S3 endpoint: start it with `wasmill up --s3 URL`.")
	case errors.Is(err, s3.ErrInvalid):
		return nil, invalid("Error occurred while GetObject. S3Bucket %q or S3Key is not a name that S3 takes.", in.String("S3Bucket"))
	case errors.Is(err, s3.ErrTooLarge):
		return nil, invalid("Error occurred while GetObject. The object has more than %d bytes.", functions.MaxCode)
	case errors.Is(err, s3.ErrDenied):
		return nil, &wire.Error{Code: codeAccessDenied, Status: http.StatusForbidden, Cause: err,
			Message: "Your access has been denied by S3, please make sure your request credentials have permission to GetObject for " + in.String("S3Bucket") + "/" + in.String("S3Key") + ". S3 Error Code: AccessDenied. S3 Error Message: Access Denied"}
	case err != nil && ctx.Err() == nil:
		return nil, failed(err, "Error occurred while GetObject. S3 did not answer as it should: see the log of wasmill, and try again.")
	}
	return raw, err
}
