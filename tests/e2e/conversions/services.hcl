group "default" {
  targets = ["core", "editoast"]
}
target "core" {
  tags = ["localhost:5000/osrd-core:ci"]
}
target "editoast" {
  tags = ["localhost:5000/osrd-editoast:ci"]
}
