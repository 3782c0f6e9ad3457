package protocol

import (
	"io"
	"log/slog"
)

// newLogHandler writes lines as hclog does with JSONFormat: the keys @timestamp, @level and @message, and the attributes beside
// them. (hclog v1.6.3, intlogger.go; go-plugin v1.8.0, log_entry.go, reads them.)
func newLogHandler(w io.Writer, level slog.Leveler) slog.Handler {
	return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) > 0 {
			return a
		}
		switch a.Key {
		case slog.TimeKey:
			return slog.String("@timestamp", a.Value.Time().Format("2006-01-02T15:04:05.000000Z07:00"))
		case slog.LevelKey:
			level, _ := a.Value.Any().(slog.Level)
			return slog.String("@level", levelName(level))
		case slog.MessageKey:
			a.Key = "@message"
		}
		return a
	}})
}

func levelName(l slog.Level) string {
	switch {
	case l < slog.LevelDebug:
		return "trace"
	case l < slog.LevelInfo:
		return "debug"
	case l < slog.LevelWarn:
		return "info"
	case l < slog.LevelError:
		return "warn"
	}
	return "error"
}
