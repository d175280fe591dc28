//go:build !windows

package door

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
)

// Where systems keep the certificates of authorities, in one file or in a folder:
// those of Go's crypto/x509.
var (
	rootFiles = []string{
		"/etc/ssl/certs/ca-certificates.crt",
		"/etc/pki/tls/certs/ca-bundle.crt",
		"/etc/ssl/ca-bundle.pem",
		"/etc/pki/tls/cacert.pem",
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
		"/etc/ssl/cert.pem",
		"/opt/etc/ssl/certs/ca-certificates.crt",
	}
	rootFolders = []string{"/etc/ssl/certs", "/etc/pki/tls/certs"}
)

// systemRoots are the certificates that this machine trusts, as PEM.
func systemRoots() []byte {
	files, folders := rootFiles, rootFolders
	if f := os.Getenv("SSL_CERT_FILE"); f != "" {
		files = []string{f}
	}
	if d := os.Getenv("SSL_CERT_DIR"); d != "" {
		folders = strings.Split(d, ":")
	}
	var roots bytes.Buffer
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil {
			roots.Write(b)
			break
		}
	}
	if roots.Len() > 0 && os.Getenv("SSL_CERT_DIR") == "" {
		return roots.Bytes() // the folder holds the same
	}
	for _, d := range folders {
		entries, _ := os.ReadDir(d)
		for _, e := range entries {
			if b, err := os.ReadFile(filepath.Join(d, e.Name())); err == nil && bytes.Contains(b, []byte("-----BEGIN CERTIFICATE-----")) {
				roots.WriteByte('\n')
				roots.Write(b)
			}
		}
	}
	return roots.Bytes()
}
