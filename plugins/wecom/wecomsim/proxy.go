package wecomsim

import (
	"bufio"
	"encoding/base64"
	"io"
	"net"
	"net/http"
)

// tunnel is the proxy: CONNECT qyapi.weixin.qq.com:443 leads to the service, everything else is refused.
func (s *Server) tunnel(conn net.Conn) {
	in := bufio.NewReader(conn)
	request, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	status := s.admit(request)
	s.options.Log.Debug("proxy", "host", request.Host, "status", status)
	if status != http.StatusOK {
		head := "HTTP/1.1 403 Forbidden"
		if status == http.StatusProxyAuthRequired {
			head = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"wecomsim\""
		}
		io.WriteString(conn, head+"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		return
	}
	service, err := net.Dial("tcp", s.service.Addr().String())
	if err != nil {
		return
	}
	defer service.Close()
	io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
	s.running.Go(func() {
		io.Copy(service, in)
		service.(*net.TCPConn).CloseWrite()
	})
	io.Copy(conn, service)
}

func (s *Server) admit(request *http.Request) (status int) {
	if s.options.ProxyPassword != "" {
		want := "Basic " + base64.StdEncoding.EncodeToString([]byte(s.options.ProxyPassword))
		if request.Header.Get("Proxy-Authorization") != want {
			return http.StatusProxyAuthRequired
		}
	}
	if request.Method != http.MethodConnect || request.Host != host+":443" {
		return http.StatusForbidden
	}
	return http.StatusOK
}
