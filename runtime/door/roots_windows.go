package door

import (
	"bytes"
	"encoding/pem"
	"os"
	"syscall"
	"unsafe"
)

// systemRoots are the certificates of the system's store of roots, as PEM;
// SSL_CERT_FILE names a file to use instead.
func systemRoots() []byte {
	if f := os.Getenv("SSL_CERT_FILE"); f != "" {
		b, _ := os.ReadFile(f)
		return b
	}
	name, err := syscall.UTF16PtrFromString("ROOT")
	if err != nil {
		return nil
	}
	store, err := syscall.CertOpenSystemStore(0, name)
	if err != nil {
		return nil
	}
	defer syscall.CertCloseStore(store, 0)
	var roots bytes.Buffer
	var cert *syscall.CertContext
	for {
		if cert, err = syscall.CertEnumCertificatesInStore(store, cert); err != nil {
			return roots.Bytes()
		}
		der := unsafe.Slice(cert.EncodedCert, cert.Length)
		pem.Encode(&roots, &pem.Block{Type: "CERTIFICATE", Bytes: bytes.Clone(der)})
	}
}
