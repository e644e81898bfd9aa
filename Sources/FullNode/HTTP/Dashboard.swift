// The dashboard: four files that are in the program, and nothing from elsewhere. What they show is what the API says, with
// the token that its reader types in.

import HTTPTypes
import Hummingbird
import NIOCore

enum Dashboard {
  /// Path, type and content of each file.
  static let files = [
    ("/", "text/html; charset=utf-8", ByteBuffer(bytes: PackageResources.dashboard_html)),
    ("/dashboard.css", "text/css; charset=utf-8", ByteBuffer(bytes: PackageResources.dashboard_css)),
    ("/icon.svg", "image/svg+xml", ByteBuffer(bytes: PackageResources.icon_svg)),
    ("/dashboard.js", "text/javascript; charset=utf-8", ByteBuffer(bytes: PackageResources.dashboard_js)),
  ]

  /// Whether everybody may have what is at `path`: there is nothing in it that the program's source does not say.
  static func isOpen(_ path: String) -> Bool { files.contains { $0.0 == path } }

  static func add(to router: Router<AppContext>) {
    for (path, type, content) in files {
      router.get(RouterPath(path)) { _, _ in
        var response = Response(status: .ok, headers: [.contentType: type], body: ResponseBody(byteBuffer: content))
        response.headers[.contentSecurityPolicy] =
          "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
          + "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        response.headers[.xContentTypeOptions] = "nosniff"
        response.headers[.cacheControl] = "no-cache"
        if let name = HTTPField.Name("Referrer-Policy") { response.headers[name] = "no-referrer" }
        return response
      }
    }
  }
}
