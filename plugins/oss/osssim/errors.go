package osssim

import (
	"encoding/base64"
	"encoding/xml"
	"io"
	"net/http"
)

// A refusal is an answer that is not a success. The EC number is left empty
// where its page was not found.
type refusal struct {
	status  int
	code    string
	ec      string
	message string
}

func (r *refusal) Error() string { return r.code + ": " + r.message }

func refuse(status int, code, ec, message string) *refusal {
	return &refusal{status, code, ec, message}
}

// Refusals that more than one operation gives.
func accessDenied(ec, message string) *refusal {
	return refuse(http.StatusForbidden, "AccessDenied", ec, message)
}

func invalidArgument(ec, message string) *refusal {
	return refuse(http.StatusBadRequest, "InvalidArgument", ec, message)
}

func malformedXML() *refusal {
	return refuse(http.StatusBadRequest, "MalformedXML", "",
		"The XML you provided was not well-formed or did not validate against our published schema.")
}

func noSuchKey() *refusal {
	return refuse(http.StatusNotFound, "NoSuchKey", "0026-00000001", "The specified key does not exist.")
}

func noSuchUpload() *refusal {
	return refuse(http.StatusNotFound, "NoSuchUpload", "0017-00000244",
		"The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.")
}

func fileAlreadyExists() *refusal {
	return refuse(http.StatusConflict, "FileAlreadyExists", "0026-00000002",
		"The object you specified already exists and can not be overwritten.")
}

func fileImmutable() *refusal {
	return refuse(http.StatusConflict, "FileImmutable", "", "The object you specified is immutable.")
}

func notImplemented(what string) *refusal {
	return refuse(http.StatusNotImplemented, "NotImplemented", "", "The simulator does not know "+what+".")
}

func internalError() *refusal {
	return refuse(http.StatusInternalServerError, "InternalError", "", "Please contact the server administrator.")
}

type errorBody struct {
	XMLName   xml.Name `xml:"Error"`
	Code      string
	Message   string
	RequestID string `xml:"RequestId"`
	HostID    string `xml:"HostId"`
	EC        string `xml:"EC,omitempty"`
}

// writeRefusal answers in the form of the error-responses page. A HEAD answer
// has no body, so that the same XML travels in x-oss-err.
func writeRefusal(w http.ResponseWriter, r *http.Request, requestID string, ref *refusal) {
	if ref.code == "" { // a load balancer in front of the service
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(ref.status)
		io.WriteString(w, "<html><body><h1>Service Temporarily Unavailable</h1></body></html>")
		return
	}
	body, err := xml.Marshal(errorBody{
		Code: ref.code, Message: ref.message, RequestID: requestID, HostID: r.Host, EC: ref.ec,
	})
	if err != nil {
		panic(err)
	}
	body = append([]byte(xml.Header), body...)
	h := w.Header()
	if ref.ec != "" {
		h.Set("X-Oss-Ec", ref.ec)
	}
	h.Set("Content-Type", "application/xml")
	if r.Method == http.MethodHead {
		h.Set("X-Oss-Err", base64.StdEncoding.EncodeToString(body))
		w.WriteHeader(ref.status)
		return
	}
	w.WriteHeader(ref.status)
	w.Write(body)
}
